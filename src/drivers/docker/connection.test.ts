import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readCall } from './connection.js';
import { BODY_BYTES_MAX } from './protocol.js';

const read = (text: string): ReturnType<typeof readCall> => readCall(Buffer.from(text), (path) => path === '/Known.Call');
const START = 'POST /Known.Call HTTP/1.1\r\nHost: \r\n';

test('a call is read once it is whole', () => {
  const head = `${START}Content-Length: 2\r\n\r\n`;
  const whole = { path: '/Known.Call', bodyAt: head.length, end: head.length + 2 };
  assert.deepEqual(read(`${head}{}`), whole);
  assert.deepEqual(read(`${head}{}POST /`), whole, 'the next one begins');
  for (let bytes = 0; bytes < head.length + 2; bytes++) assert.equal(read(`${head}{}`.slice(0, bytes)), 'more', `${bytes} bytes`);
  assert.equal(typeof read(`${START}content-LENGTH:2 \r\n\r\n{}`), 'object');
});

test('everything else is for the HTTP server', () => {
  const others = [
    'GET /Known.Call HTTP/1.1\r\nContent-Length: 0\r\n\r\n',
    'POST /Other.Call HTTP/1.1\r\nContent-Length: 0\r\n\r\n',
    'POST /Known.Call?id=a HTTP/1.1\r\nContent-Length: 0\r\n\r\n',
    'POST /Known.Call HTTP/1.0\r\nContent-Length: 0\r\n\r\n',
    `${START}\r\n`,
    `${START}Transfer-Encoding: chunked\r\n\r\n`,
    `${START}Content-Length: 0\r\nExpect: 100-continue\r\n\r\n`,
    `${START}Content-Length: 0\r\nConnection: close\r\n\r\n`,
    `${START}Content-Length: 0\r\nContent-Length: 1\r\n\r\n`,
    `${START}Content-Length: ${BODY_BYTES_MAX + 1}\r\n\r\n`,
    `${START}Content-Length: -1\r\n\r\n`,
    '\0\0\0',
    'PO\r\n',
    `POST /${'a'.repeat(20_000)}`,
  ];
  for (const other of others) assert.equal(read(other), 'other', JSON.stringify(other.slice(0, 100)));
});
