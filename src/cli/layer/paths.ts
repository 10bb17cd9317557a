/** Path of a layer in the control protocol. */
export function layerPath(name: string, rest = ''): string {
  return `layers/${encodeURIComponent(name)}${rest}`;
}
