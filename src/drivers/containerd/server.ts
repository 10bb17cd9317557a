/** The gRPC server, on a unix socket that listens already. */
import { createServer, type Server as SocketServer } from 'node:net';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { MESSAGE_BYTES_MAX } from './method.js';
import type { Service } from './rpc.js';
import { serveSocket } from '../socket.js';

export interface RunningServer {
  /** Ends the server: calls that are under way get `graceMs` to end. */
  stop: (graceMs: number) => Promise<void>;
}

/** Serves those who connect to a listening descriptor. */
export async function serve(service: Service, fd: number): Promise<RunningServer> {
  const rpc = new Server({ 'grpc.max_receive_message_length': MESSAGE_BYTES_MAX, 'grpc.max_send_message_length': MESSAGE_BYTES_MAX });
  rpc.addService(service.definition, service.implementation);
  const injector = rpc.createConnectionInjector(ServerCredentials.createInsecure());
  const listener = createServer((connection) => injector.injectConnection(connection));
  await serveSocket(listener, fd);
  return {
    stop: async (graceMs) => {
      listener.close();
      await drained(rpc, listener, graceMs);
      injector.destroy();
    },
  };
}

/** Waits until all connections have ended, `graceMs` at most. */
async function drained(rpc: Server, listener: SocketServer, graceMs: number): Promise<void> {
  const patience = setTimeout(() => rpc.forceShutdown(), graceMs);
  await new Promise<void>((resolve) => rpc.tryShutdown(() => resolve()));
  clearTimeout(patience);
  if (listener.listening) listener.close();
}
