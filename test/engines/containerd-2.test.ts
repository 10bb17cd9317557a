/** The containerd of Debian's testing suite, 2.1 or newer, with the differ in use by way of its transfer service. */
import { isAtLeast } from '../../src/cli/setup/version.js';
import { containerdTests } from './containerd-cases.js';

containerdTests('forky', (version) => isAtLeast(version, 2, 1));
