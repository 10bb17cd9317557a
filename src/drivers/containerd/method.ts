/** A method of a gRPC service: its path and the messages it takes and gives, for servers and clients. */
import type { MethodDefinition } from '@grpc/grpc-js';
import type { Fields, Message, Of } from './protobuf.js';

/** Messages of 16 MiB are what containerd sends at most. */
export const MESSAGE_BYTES_MAX = 16 << 20;

export type Method<A, B> = MethodDefinition<A, B>;
type Shape = 'unary' | 'server-stream' | 'both-streams';

export function method<A extends Message<Fields>, B extends Message<Fields>>(
  path: string,
  request: A,
  response: B,
  shape: Shape = 'unary',
): Method<Partial<Of<A>>, Of<B>> {
  return {
    path,
    requestStream: shape === 'both-streams',
    responseStream: shape !== 'unary',
    requestSerialize: (value) => request.encode(value),
    requestDeserialize: (bytes) => request.decode(bytes) as Of<A>,
    responseSerialize: (value) => response.encode(value),
    responseDeserialize: (bytes) => response.decode(bytes) as Of<B>,
  };
}
