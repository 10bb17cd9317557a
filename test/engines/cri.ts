/** The image service of Kubernetes' part of containerd (CRI), as kubelet calls it, as far as tests need it. */
import { PATIENCE_MS, within } from '../../scripts/lib/limits.js';
import { GrpcClient } from '../../src/drivers/containerd/client.js';
import { Empty } from '../../src/drivers/containerd/messages.js';
import { method } from '../../src/drivers/containerd/method.js';
import { field, message } from '../../src/drivers/containerd/protobuf.js';

/** Namespace of containerd that Kubernetes has its images in. */
export const KUBERNETES_NAMESPACE = 'k8s.io';

const ImageSpec = message('CriImageSpec', { image: field(1, 'string') });
const ImageRequest = message('CriImageRequest', { image: field(1, ImageSpec) });
const PullResponse = message('CriPullResponse', { imageRef: field(1, 'string') });

const PULL = method('/runtime.v1.ImageService/PullImage', ImageRequest, PullResponse);
const REMOVE = method('/runtime.v1.ImageService/RemoveImage', ImageRequest, Empty);

/** Has containerd, at `address`, pull an image for Kubernetes. Throws CallFailure, and Error if it takes too long. */
export async function criPull(address: string, image: string): Promise<void> {
  await withClient(address, `Kubernetes' pull of ${image}`, (client) => client.call(PULL, { image: { image } }));
}

/** Has it remove the image again, with all that only this image needed. Throws CallFailure, and Error if it takes too long. */
export async function criRemove(address: string, image: string): Promise<void> {
  await withClient(address, `Kubernetes' removal of ${image}`, (client) => client.call(REMOVE, { image: { image } }));
}

async function withClient(address: string, what: string, work: (client: GrpcClient) => Promise<unknown>): Promise<void> {
  const client = new GrpcClient(address);
  try {
    await within(work(client), PATIENCE_MS, what);
  } finally {
    client.close();
  }
}
