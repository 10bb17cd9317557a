/**
 * User namespace maps: which host id stands for an id inside containers (Docker's userns-remap).
 *
 * Archives hold container ids, a layer on disk host ids. Without a map both are the same.
 */

/** Ids `container` … `container + size - 1` are the host's `host` … `host + size - 1`. */
export interface IdRange {
  readonly container: number;
  readonly host: number;
  readonly size: number;
}

export interface IdMaps {
  readonly uids?: readonly IdRange[];
  readonly gids?: readonly IdRange[];
}

/** Id on disk for the id in an archive, or -1 if the map leaves it out. */
export function toHost(map: readonly IdRange[] | undefined, id: number): number {
  if (map === undefined || map.length === 0) return id;
  for (const range of map) if (id >= range.container && id < range.container + range.size) return id - range.container + range.host;
  return -1;
}

/** Id in an archive for the id on disk, or -1 if the map leaves it out. */
export function toContainer(map: readonly IdRange[] | undefined, id: number): number {
  if (map === undefined || map.length === 0) return id;
  for (const range of map) if (id >= range.host && id < range.host + range.size) return id - range.host + range.container;
  return -1;
}
