// The recording part of the gateway's HTTP contract, typed: a link's bytes with their timing, in a capture file.

import { read, seg, write, type Told } from './api';

export type Recording = Told['Recording'];

export const recordings = {
  list: async () => (await read('/api/v1/recordings')).recordings,
  async start(link: string, masked: boolean, minutes: number) {
    await write('/api/v1/recordings', { body: { link, masked, minutes } });
  },
  async stop(name: string) {
    await write('/api/v1/recordings/{name}/stop', { path: { name } });
  },
  async remove(name: string) {
    await write('/api/v1/recordings/{name}/remove', { path: { name } });
  },
  /** Address of the capture file. */
  file: (name: string) => `/api/v1/recordings/${seg(name)}`,
};
