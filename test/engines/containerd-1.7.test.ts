/** The containerd of Debian 13, 1.7, with the differ in use. */
import { isAtLeast } from '../../src/cli/setup/version.js';
import { containerdTests } from './containerd-cases.js';

containerdTests('trixie', (version) => isAtLeast(version, 1, 7, 4) && version.major === 1);
