// What somebody may here. The gateway decides; the desk only hides what it would refuse.

/** What the desk asks for, and the gateway's word for it (`GET /session`, `permissions`). */
const WORDS = {
  look: 'devices.see',
  read: 'messages.read',
  resend: 'messages.resend',
  test: 'upstream.test',
  pair: 'devices.pair',
  worklist: 'worklist.use',
  associate: 'associations.change',
  users: 'users.change',
  audit: 'audit.read',
  profiles: 'profiles.change',
  upstreams: 'upstreams.change',
  backup: 'backup.make',
  settings: 'settings.change',
  site: 'site.change',
  emergency: 'break-glass.use',
} as const;

export type Right = keyof typeof WORDS;

/** Whether these permissions, of the session, let somebody do this. */
export function may(permissions: readonly string[] | undefined, right: Right): boolean {
  return permissions?.includes(WORDS[right]) ?? false;
}
