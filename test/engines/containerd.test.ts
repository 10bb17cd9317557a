/** The containerd of the machine's own distribution: 1.6 on Debian 12. */
import { isAtLeast } from '../../src/cli/setup/version.js';
import { containerdTests } from './containerd-cases.js';

containerdTests(undefined, (version) => isAtLeast(version, 1, 6));
