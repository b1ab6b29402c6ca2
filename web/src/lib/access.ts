// Accounts, second factors and users: the gateway's HTTP contract, typed, and what a browser does for passkeys.

import { ask, read, write, type Told } from './api';
import { m, translated, type Message } from './i18n';

export type Entered = Told['LetIn'];
export type Account = Told['Account'];
export type NewTotp = Told['TotpBegun'];
/** Codes are there when this was the first factor; they are shown once. */
export type Enrolled = Told['Enrolled'];
export type OpenSession = Told['OpenSession'];
export type ApiToken = Told['ApiToken'];
export type User = Told['User'];
export type Role = Told['NewUser']['role'];
export type Users = Told['Users'];
export type UserChange = Told['UserChange'];

/** base64url without padding, as WebAuthn's data travels. */
export function toBase64url(bytes: ArrayBuffer): string {
  const text = String.fromCharCode(...new Uint8Array(bytes));
  return btoa(text).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}

export function fromBase64url(text: string): Uint8Array<ArrayBuffer> {
  const binary = atob(text.replaceAll('-', '+').replaceAll('_', '/'));
  return Uint8Array.from(binary, (letter) => letter.charCodeAt(0));
}

/** An image of the QR code, without markup in the page. */
export const picture = (svg: string): string => `data:image/svg+xml;base64,${btoa(svg)}`;

const known = (ids: string[]): PublicKeyCredentialDescriptor[] =>
  ids.map((id) => ({ type: 'public-key', id: fromBase64url(id) }));

const prove = (body: Told['Proof']): Promise<Entered> => write('/api/v1/factor/prove', { body });

export const access = {
  login: (username: string, password: string) => write('/api/v1/login', { body: { username, password } }),
  totp: (code: string, remember = false) => prove({ totp: code, remember }),
  recovery: (code: string) => prove({ recovery: code }),
  password: (password: string) => prove({ password }),
  async passkey(remember = false): Promise<Entered> {
    const asked = await write('/api/v1/factor/challenge', {});
    const found = (await navigator.credentials.get({
      publicKey: {
        challenge: fromBase64url(asked.challenge),
        rpId: asked.rp_id,
        allowCredentials: known(asked.credentials),
        userVerification: 'required',
        timeout: asked.timeout_ms,
      },
    })) as PublicKeyCredential;
    const answer = found.response as AuthenticatorAssertionResponse;
    const passkey = {
      id: toBase64url(found.rawId),
      client_data: toBase64url(answer.clientDataJSON),
      authenticator_data: toBase64url(answer.authenticatorData),
      signature: toBase64url(answer.signature),
    };
    return prove({ passkey, remember });
  },

  /** Asks for a fresh proof, if one is owed: before a link that cannot ask by itself. */
  async fresh() {
    await ask('/api/v1/factor/fresh', {});
  },

  account: () => read('/api/v1/account'),
  beginTotp: () => write('/api/v1/account/totp/begin', {}),
  addTotp: (code: string, label: string) => write('/api/v1/account/totp', { body: { code, label } }),
  async addPasskey(label: string): Promise<Enrolled> {
    const asked = await write('/api/v1/account/passkey/begin', {});
    const made = (await navigator.credentials.create({
      publicKey: {
        challenge: fromBase64url(asked.challenge),
        rp: asked.rp,
        user: {
          id: fromBase64url(asked.user.id),
          name: asked.user.name,
          displayName: asked.user.display,
        },
        pubKeyCredParams: asked.algorithms.map((alg) => ({ type: 'public-key', alg })),
        excludeCredentials: known(asked.exclude),
        authenticatorSelection: { userVerification: 'required', residentKey: 'discouraged' },
        attestation: 'none',
        timeout: asked.timeout_ms,
      },
    })) as PublicKeyCredential;
    const answer = made.response as AuthenticatorAttestationResponse;
    const client_data = toBase64url(answer.clientDataJSON);
    const attestation = toBase64url(answer.attestationObject);
    return write('/api/v1/account/passkey', { body: { label, client_data, attestation } });
  },
  newCodes: async () => (await write('/api/v1/account/recovery', {})).recovery,
  async removeFactor(id: number) {
    await ask('/api/v1/account/factors/{id}/remove', { path: { id } });
  },
  async changePassword(old: string, fresh: string) {
    await ask('/api/v1/account/password', { body: { old, new: fresh } });
  },
  sessions: async () => (await read('/api/v1/account/sessions')).sessions,
  async endSession(id: number) {
    await ask('/api/v1/account/sessions/{id}/end', { path: { id } });
  },
  endOthers: async () => (await write('/api/v1/account/sessions/end-others', {})).ended,
  tokens: () => read('/api/v1/account/tokens'),
  addToken: (name: string, permissions: string[], days: number) =>
    write('/api/v1/account/tokens', { body: { name, permissions, days } }),
  async revokeToken(id: number) {
    await ask('/api/v1/account/tokens/{id}/revoke', { path: { id } });
  },
  breakGlass: (reason: string, minutes: number) =>
    write('/api/v1/break-glass', { body: { reason, minutes } }),
  async endBreakGlass() {
    await ask('/api/v1/break-glass/end', {});
  },

  users: () => read('/api/v1/users'),
  addUser: (username: string, role: Role) => write('/api/v1/users', { body: { username, role } }),
  async changeUser(name: string, what: UserChange) {
    await ask('/api/v1/users/{name}/change', { path: { name }, body: what });
  },
  newPassword: async (name: string) =>
    (await write('/api/v1/users/{name}/password', { path: { name } })).password,
  async resetFactors(name: string) {
    await ask('/api/v1/users/{name}/factors/reset', { path: { name } });
  },
  async removeUser(name: string) {
    await ask('/api/v1/users/{name}/remove', { path: { name } });
  },
  async endSessions(name: string) {
    await ask('/api/v1/users/{name}/sessions/end', { path: { name } });
  },
};

/** Why a log-in by another system was refused, from the word in the address. */
export const REFUSED: Readonly<Record<string, Message>> = {
  provider: m(
    'The other system could not be asked, or it refused. Try again, or log in with a user of the gateway.',
  ),
  state: m('That log-in was begun in another window or too long ago. Begin again.'),
  issuer: m(
    'The answer came from another system than the one that was asked. Tell whoever looks after the gateway.',
  ),
  token: m('The gateway did not believe the other system’s answer. Tell whoever looks after the gateway.'),
  role: m('You are in no group that has a role on this gateway. Ask for one.'),
  name: m('Your name is somebody else’s on this gateway. Ask whoever looks after its users.'),
};

const ROLES: Readonly<Record<string, Message>> = {
  admin: m('Administrator'),
  engineer: m('Engineer'),
  clinician: m('Clinician'),
  auditor: m('Auditor'),
  integrator: m('Integrator'),
};

/** A role's name for people; of a newer gateway its word. */
export const roleName = (role: string): string => (ROLES[role] ? translated(ROLES[role]) : role);

const MEANINGS: Readonly<Record<string, Message>> = {
  'session.use': m('log in and look after the own account'),
  'devices.see': m('see devices, links and last values'),
  'messages.read': m('read whole messages and patients'),
  'messages.resend': m('release and send messages again'),
  'upstream.test': m('try the connection upstream'),
  'devices.pair': m('pair devices, make and remove links'),
  'worklist.use': m('see and change orders for analysers'),
  'associations.change': m('say which patient is on a device'),
  'users.change': m('make users, give roles, end sessions'),
  'audit.read': m('read the audit trail'),
  'profiles.change': m('change firmware profiles and templates'),
  'upstreams.change': m('change where results go'),
  'backup.make': m('make and restore backups'),
  'settings.change': m('change how the box is set'),
  'site.change': m('name the box and its site, set its time zone'),
  'break-glass.use': m('look beyond the own places in an emergency'),
};

/** What a permission lets somebody do; of a newer gateway its word. */
export const meaning = (word: string): string => (MEANINGS[word] ? translated(MEANINGS[word]) : word);

/** Lines or commas of a text field, as a list. */
export const listOf = (text: string): string[] =>
  text
    .split(/[\n,]/)
    .map((one) => one.trim())
    .filter(Boolean);
