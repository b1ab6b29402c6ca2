// What a role may do here. The gateway decides; the desk only hides what it would refuse.

export type Right =
  | 'pair'
  | 'worklist'
  | 'associate'
  | 'resend'
  | 'read'
  | 'audit'
  | 'profiles'
  | 'upstreams'
  | 'backup'
  | 'settings'
  | 'users';

const RIGHTS: Record<Right, readonly string[]> = {
  pair: ['admin', 'engineer', 'integrator'],
  associate: ['admin', 'engineer', 'clinician', 'integrator'],
  resend: ['admin', 'engineer', 'integrator'],
  read: ['admin', 'engineer', 'clinician', 'integrator'],
  profiles: ['admin', 'engineer', 'integrator'],
  upstreams: ['admin', 'engineer', 'integrator'],
  backup: ['admin'],
  worklist: ['admin', 'engineer', 'clinician', 'integrator'],
  users: ['admin'],
  audit: ['admin', 'auditor'],
  settings: ['admin', 'engineer'],
};

export function may(role: string | undefined, right: Right): boolean {
  return role !== undefined && RIGHTS[right].includes(role);
}
