import assert from 'node:assert/strict';
import { test } from 'node:test';
import { dropInFile, engineDropIn, lcfsUnit } from './units.js';

const service = {
  program: ['/usr/bin/node', '/opt/lcfs/main.js'],
  device: '/var/lib/lcfs/volume.img',
  mountpoint: '/lcfs',
  size: '20G',
  serve: ['--containerd', '/run/lcfs/containerd.sock'],
};

const line = (text: string, key: string): string | undefined => text.split('\n').find((entry) => entry.startsWith(`${key}=`));

test('lcfs is started before the engines and stopped by its own command', () => {
  const text = lcfsUnit(service);
  const start =
    '/usr/bin/node /opt/lcfs/main.js daemon /var/lib/lcfs/volume.img /lcfs --format --size 20G --containerd /run/lcfs/containerd.sock --detach';
  assert.equal(line(text, 'ExecStart'), `ExecStart=${start}`);
  assert.equal(line(text, 'ExecStop'), 'ExecStop=/usr/bin/node /opt/lcfs/main.js stop /lcfs');
  assert.equal(line(text, 'Before'), 'Before=containerd.service docker.service');
  assert.equal(line(text, 'RequiresMountsFor'), 'RequiresMountsFor=/var/lib/lcfs');
  assert.equal(line(text, 'CPUWeight'), 'CPUWeight=300', 'the daemon has a group of its own');
  assert.equal(line(text, 'Type'), 'Type=forking');
  assert.equal(line(text, 'KillMode'), 'KillMode=mixed', 'the supervisor alone hears that it is to end');
  assert.equal(line(text, 'Restart'), 'Restart=no', 'the supervisor starts the serving process again');
  assert.equal(line(text, 'ExecStartPre'), 'ExecStartPre=/bin/mkdir -p /var/lib/lcfs');
  const device = lcfsUnit({ ...service, device: '/dev/sdb' });
  assert.equal(line(device, 'ExecStartPre'), undefined);
  assert.ok(line(device, 'ExecStart')!.includes('daemon /dev/sdb /lcfs --format --containerd'), 'a device is taken as a whole');
});

test('words that mean something to systemd are written so that they do not', () => {
  const text = lcfsUnit({ ...service, mountpoint: '/my $5 "100%" \\ folder' });
  assert.ok(line(text, 'ExecStart')!.includes(String.raw`"/my $$5 \"100%%\" \\ folder"`), line(text, 'ExecStart'));
});

test('an engine needs lcfs, and may need variables', () => {
  assert.equal(dropInFile('docker'), '/etc/systemd/system/docker.service.d/lcfs.conf');
  assert.ok(engineDropIn().endsWith('[Unit]\nRequires=lcfs.service\nAfter=lcfs.service\n'));
  assert.ok(
    engineDropIn(['ONE=1', 'OTHER=/my $5 "100%"']).endsWith('\n[Service]\nEnvironment=ONE=1\nEnvironment="OTHER=/my $5 \\"100%%\\""\n'),
  );
});
