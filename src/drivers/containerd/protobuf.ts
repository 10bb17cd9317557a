/**
 * Protocol Buffers messages, each declared once as a table of fields. From the table come the codec (protobufjs) and the
 * TypeScript type:
 *
 *   const Mount = message('Mount', { type: field(1, 'string'), options: repeated(4, 'string') });
 *   type Mount = Of<typeof Mount>;
 *
 * Fields that did not travel have the default values of proto3; a message that did not travel is null. Numbers of 64 bits
 * become JavaScript numbers: sizes, offsets and seconds stay far below 2^53.
 */
import protobuf from 'protobufjs';

type Scalar = 'string' | 'bytes' | 'bool' | 'int32' | 'uint32' | 'int64';
type FieldType = Scalar | Message<Fields>;

interface Field<T extends FieldType = FieldType, R extends 'one' | 'many' | 'map' = 'one' | 'many' | 'map'> {
  readonly id: number;
  readonly type: T;
  readonly rule: R;
}

export type Fields = Readonly<Record<string, Field>>;

export interface Message<F extends Fields> {
  readonly fields: F;
  encode(value: Partial<Decoded<F>>): Buffer;
  /** Throws an Error if the bytes are no message. */
  decode(bytes: Uint8Array): Decoded<F>;
}

type One<T> = T extends 'string'
  ? string
  : T extends 'bytes'
    ? Uint8Array
    : T extends 'bool'
      ? boolean
      : T extends Scalar
        ? number
        : T extends Message<infer F>
          ? Partial<Decoded<F>>
          : never;

type Value<T, R> = R extends 'many'
  ? readonly One<T>[]
  : R extends 'map'
    ? Readonly<Record<string, One<T>>>
    : T extends Scalar
      ? One<T>
      : One<T> | null;

export type Decoded<F extends Fields> = { readonly [K in keyof F]: F[K] extends Field<infer T, infer R> ? Value<T, R> : never };

/** The type of a message's values. */
export type Of<M> = M extends Message<infer F> ? Decoded<F> : never;

export function field<T extends FieldType>(id: number, type: T): Field<T, 'one'> {
  return { id, type, rule: 'one' };
}

export function repeated<T extends FieldType>(id: number, type: T): Field<T, 'many'> {
  return { id, type, rule: 'many' };
}

/** A map with keys that are strings. */
export function map<T extends FieldType>(id: number, type: T): Field<T, 'map'> {
  return { id, type, rule: 'map' };
}

const root = new protobuf.Root();
const names = new Map<unknown, string>();
const OBJECTS: protobuf.IConversionOptions = { defaults: true, arrays: true, objects: true, longs: Number };

export function message<F extends Fields>(name: string, fields: F): Message<F> {
  const type = new protobuf.Type(name);
  for (const [key, entry] of Object.entries(fields)) type.add(reflect(key, entry));
  root.add(type);
  const made: Message<F> = {
    fields,
    encode: (value) => type.encode(value as protobuf.Message).finish() as Buffer,
    decode: (bytes) => type.toObject(type.decode(bytes), OBJECTS) as Decoded<F>,
  };
  names.set(made, name);
  return made;
}

function reflect(key: string, { id, type, rule }: Field): protobuf.ReflectionObject {
  const typeName = typeof type === 'string' ? type : names.get(type)!;
  if (rule === 'map') return new protobuf.MapField(key, id, 'string', typeName);
  return rule === 'many' ? new protobuf.Field(key, id, typeName, 'repeated') : new protobuf.Field(key, id, typeName);
}
