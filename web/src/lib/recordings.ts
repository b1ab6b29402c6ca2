// The recording part of the gateway's HTTP contract, typed: a link's bytes with their timing, in a capture file.

import { change, load, seg } from './api';

export interface Recording {
  name: string;
  link: string;
  profile: string;
  started: string;
  /** `null` while it runs. */
  ended: string | null;
  bytes: number;
  chunks: number;
}

export const recordings = {
  list: async () => (await load<{ recordings: Recording[] }>('/recordings')).recordings,
  async start(link: string, masked: boolean, minutes: number) {
    await change('/recordings', { link, masked, minutes });
  },
  async stop(name: string) {
    await change(`/recordings/${seg(name)}/stop`);
  },
  async remove(name: string) {
    await change(`/recordings/${seg(name)}/remove`);
  },
  /** Address of the capture file. */
  file: (name: string) => `/api/v1/recordings/${seg(name)}`,
};
