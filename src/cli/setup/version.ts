/** Versions of engines: what a `--version` line says, and which of two is newer. */

export interface Version {
  major: number;
  minor: number;
  patch: number;
}

/** The first x.y.z in a text such as `containerd github.com/containerd/containerd/v2 2.1.9+unknown`; undefined without one. */
export function parseVersion(text: string): Version | undefined {
  const match = /(\d+)\.(\d+)(?:\.(\d+))?/.exec(text);
  if (match === null) return undefined;
  return { major: Number(match[1]), minor: Number(match[2]), patch: Number(match[3] ?? 0) };
}

/** Whether a version is x.y.z or newer. */
export function isAtLeast(version: Version, major: number, minor = 0, patch = 0): boolean {
  const order = version.major - major || version.minor - minor || version.patch - patch;
  return order >= 0;
}

export function formatVersion({ major, minor, patch }: Version): string {
  return `${major}.${minor}.${patch}`;
}
