/** The peers whose disk has a file system of the kernel: overlay2, fuse-overlayfs and vfs on ext4, and btrfs. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { unmountBelow } from '../../scripts/lib/mounts.js';
import { run } from '../../scripts/lib/run.js';
import { type Clone, Peer, untar } from './peer.js';

/** Docker and clones lie in a folder of the file system, which is mounted with its own defaults. */
abstract class KernelPeer extends Peer {
  protected abstract format(): Promise<unknown>;

  async start(): Promise<void> {
    await this.format();
    await run('mount', [this.disk.device, this.mountpoint]);
    this.undo.add(`mount of ${this.name}`, () => unmountBelow(this.mountpoint));
  }

  get folder(): string {
    return this.mountpoint;
  }

  protected get driver(): string {
    return this.name;
  }

  async importRoot(name: string, tar: string): Promise<void> {
    await untar(tar, this.place('roots', name));
  }

  async removeRoot(name: string): Promise<void> {
    await run('rm', ['-rf', this.place('roots', name)]);
  }
}

abstract class Ext4Peer extends KernelPeer {
  protected format(): Promise<unknown> {
    return formatExt4(this.disk.device);
  }
}

/** Without lazy initialisation, which would go on writing in the background for minutes. */
export function formatExt4(device: string): Promise<unknown> {
  return run('mkfs.ext4', ['-q', '-F', '-E', 'lazy_itable_init=0,lazy_journal_init=0', device]);
}

/** A stack of an image's root and a folder for what is written, merged by `mountMerged`. */
abstract class OverlayPeer extends Ext4Peer {
  protected abstract mountMerged(options: string, path: string): Promise<unknown>;

  protected async makeClone(root: string, name: string): Promise<Clone> {
    const folder = this.place('clones', name);
    const [upper, work, merged] = ['upper', 'work', 'merged'].map((part) => join(folder, part)) as [string, string, string];
    for (const path of [upper, work, merged]) mkdirSync(path, { recursive: true });
    await this.mountMerged(`lowerdir=${this.place('roots', root)},upperdir=${upper},workdir=${work}`, merged);
    const remove = async (): Promise<void> => {
      await unmountBelow(merged);
      await run('rm', ['-rf', folder]);
    };
    return { path: merged, remove };
  }
}

export class Overlay2Peer extends OverlayPeer {
  protected mountMerged(options: string, path: string): Promise<unknown> {
    return run('mount', ['-t', 'overlay', 'overlay', '-o', options, path]);
  }
}

export class FuseOverlayfsPeer extends OverlayPeer {
  protected mountMerged(options: string, path: string): Promise<unknown> {
    return run('fuse-overlayfs', ['-o', options, path]);
  }
}

export class VfsPeer extends Ext4Peer {
  protected async makeClone(root: string, name: string): Promise<Clone> {
    const path = this.place('clones', name);
    await run('cp', ['-a', this.place('roots', root), path]);
    return { path, remove: async () => void (await run('rm', ['-rf', path])) };
  }
}

export class BtrfsPeer extends KernelPeer {
  protected format(): Promise<unknown> {
    return run('mkfs.btrfs', ['-q', '-f', this.disk.device]);
  }

  override async importRoot(name: string, tar: string): Promise<void> {
    const path = this.place('roots', name);
    await run('btrfs', ['-q', 'subvolume', 'create', path]);
    await untar(tar, path);
  }

  override async removeRoot(name: string): Promise<void> {
    await run('btrfs', ['-q', 'subvolume', 'delete', this.place('roots', name)]);
  }

  protected async makeClone(root: string, name: string): Promise<Clone> {
    const path = this.place('clones', name);
    await run('btrfs', ['-q', 'subvolume', 'snapshot', this.place('roots', root), path]);
    return { path, remove: async () => void (await run('btrfs', ['-q', 'subvolume', 'delete', path])) };
  }
}
