/**
 * The graph driver plugin protocol of Docker, version 1: what travels.
 *
 * Every call is `POST /<Method>` with a JSON body (no Content-Type) over a unix socket, answered by JSON. Errors travel as
 * status 200 with `Err` set. Two calls carry a tar instead of JSON: the body of `ApplyDiff`, whose id and parent are query
 * parameters, and the answer of `Diff`. Fields that are empty are left out by Docker.
 */
import type { IdMaps, IdRange } from '../../archive/id-map.js';

export const CONTENT_TYPE = 'application/vnd.docker.plugins.v1.2+json';

/** A JSON body larger than this is refused unread; real ones have a few hundred bytes. */
export const BODY_BYTES_MAX = 1 << 20;

/** Kinds of change in the answer of `Changes`. */
export const MODIFIED = 0;
export const ADDED = 1;
export const DELETED = 2;

export interface InitRequest {
  /** Folder for the driver's own files; says which Docker Engine calls. */
  home: string;
  /** `--storage-opt` of dockerd, each `key=value`. */
  options: string[];
  /** `--userns-remap`: the tar of a layer has ids of the container, the layer those of the host. */
  maps: IdMaps;
}

/** The fields that the other calls share. */
export interface LayerRequest {
  id: string;
  /** Empty: no parent. */
  parent: string;
  /** `--storage-opt` of docker run and docker create. */
  storageOptions: Record<string, string>;
}

export interface Change {
  Path: string;
  Kind: number;
}

/** Answer of any call; empty fields are left out. */
export interface Answer {
  Err?: string;
  Implements?: string[];
  Capabilities?: { ReproducesExactDiffs: boolean };
  Dir?: string;
  Exists?: boolean;
  Status?: [string, string][];
  Metadata?: Record<string, string>;
  Changes?: Change[];
  Size?: number;
}

/** A request that is no proper call, answered with a status of its own. */
export class BadRequest extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

type Fields = Record<string, unknown>;

/** Parses a JSON body; an empty one (as of Activate) has no fields. Throws BadRequest. */
export function parseBody(text: string): Fields {
  if (text.trim() === '') return {};
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new BadRequest(400, `the body is not JSON: ${(error as Error).message}`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new BadRequest(400, 'the body is not a JSON object');
  return value as Fields;
}

export function parseInit(fields: Fields): InitRequest {
  const options = arrayField(fields, 'Opts').map((option) => {
    if (typeof option !== 'string') throw wrongType('Opts', 'an array of strings');
    return option;
  });
  return { home: textField(fields, 'Home'), options, maps: { uids: idRanges(fields, 'UIDMaps'), gids: idRanges(fields, 'GIDMaps') } };
}

export function parseLayerRequest(fields: Fields): LayerRequest {
  return { id: textField(fields, 'ID'), parent: textField(fields, 'Parent'), storageOptions: storageOptions(fields) };
}

/** The id and parent of ApplyDiff. */
export function parseQuery(query: URLSearchParams): LayerRequest {
  return { id: query.get('id') ?? '', parent: query.get('parent') ?? '', storageOptions: {} };
}

function textField(fields: Fields, name: string): string {
  const value = fields[name] ?? '';
  if (typeof value !== 'string') throw wrongType(name, 'a string');
  return value;
}

function arrayField(fields: Fields, name: string): unknown[] {
  const value = fields[name] ?? [];
  if (!Array.isArray(value)) throw wrongType(name, 'an array');
  return value;
}

function storageOptions(fields: Fields): Record<string, string> {
  const value = fields['StorageOpt'] ?? {};
  const isText = (entry: unknown): entry is string => typeof entry === 'string';
  if (typeof value !== 'object' || value === null || !Object.values(value).every(isText))
    throw wrongType('StorageOpt', 'an object of strings');
  return value as Record<string, string>;
}

/** Docker's code writes the keys in lower case, its documentation in camel case. */
function idRanges(fields: Fields, name: string): IdRange[] {
  return arrayField(fields, name).map((entry) => {
    const range = (entry ?? {}) as Fields;
    const container = range['container_id'] ?? range['ContainerID'];
    const host = range['host_id'] ?? range['HostID'];
    const size = range['size'] ?? range['Size'];
    if (!isId(container) || !isId(host) || !isId(size)) throw wrongType(name, 'an array of {container_id, host_id, size}');
    return { container, host, size };
  });
}

const isId = (value: unknown): value is number => Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 0xffff_ffff;

const wrongType = (name: string, type: string): BadRequest => new BadRequest(400, `${name} must be ${type}`);
