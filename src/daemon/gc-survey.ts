/** What `lcfs gc` has to know of each layer: who had it made, by its properties, and what it is connected with. */
import { isOfContainerd } from '../drivers/containerd/snapshot.js';
import { isOfDocker } from '../drivers/docker/driver.js';
import { listLayers, type LayerInfo } from '../engine/layers.js';
import { UNFINISHED } from '../engine/unfinished.js';
import type { LayerIndex } from '../layout/constants.js';
import type { EngineName } from './protocol.js';

/** `import`: an import that is under way, or that a crash cut off. `hand`: somebody, with a command. */
export type Maker = EngineName | 'import' | 'hand';

export interface SurveyedLayer {
  readonly index: LayerIndex;
  readonly name: string;
  readonly maker: Maker;
  /** 0: none. */
  readonly parent: LayerIndex;
  /** Milliseconds since 1970. */
  readonly created: number;
  readonly ownBytes: number;
  readonly holders: number;
}

/** All layers, oldest first. */
export function surveyLayers(): SurveyedLayer[] {
  return Array.from(listLayers(), survey);
}

function survey({ index, name, properties, parentIndex = 0, created, ownBytes, holders }: LayerInfo): SurveyedLayer {
  return { index, name, maker: makerOf(properties), parent: parentIndex, created: created.getTime(), ownBytes, holders };
}

function makerOf(properties: Readonly<Record<string, string>>): Maker {
  if (isOfContainerd(properties)) return 'containerd';
  if (isOfDocker(properties)) return 'docker';
  return properties[UNFINISHED] === undefined ? 'hand' : 'import';
}
