// An OpenID Connect provider on the OpenID-certified oidc-provider, whose log-in page is a redirect: whoever comes is
// the account the settings name. `/control` (POST) changes the account, turns the signing keys over, or adds an `iss`.
import http from 'node:http';
import { exportJWK, generateKeyPair } from 'jose';
import Provider from 'oidc-provider';
import { live, settings } from './life.mjs';

const { port, clientId, secret, redirect } = settings;
const issuer = `http://127.0.0.1:${port}`;
let account = settings.account;

async function signingKey(alg, kid) {
  const { privateKey } = await generateKeyPair(alg, { extractable: true });
  return { ...(await exportJWK(privateKey)), use: 'sig', alg, kid };
}

async function made(generation) {
  const provider = new Provider(issuer, {
    jwks: { keys: [await signingKey('RS256', `rsa-${generation}`), await signingKey('ES256', `ec-${generation}`)] },
    clients: [
      {
        client_id: clientId,
        ...(secret && { client_secret: secret }),
        redirect_uris: [redirect],
        grant_types: ['authorization_code'],
        response_types: ['code'],
        token_endpoint_auth_method: secret ? 'client_secret_basic' : 'none',
      },
    ],
    claims: { openid: ['sub'], profile: ['preferred_username', 'groups'] },
    pkce: { required: () => true },
    features: { devInteractions: { enabled: false } },
    interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
    findAccount: (_, id) => ({
      accountId: id,
      claims: () => ({ sub: id, preferred_username: account.username, groups: account.groups }),
    }),
    cookies: { keys: ['one key of a rig'] },
  });
  provider.on('server_error', (_, error) => console.error(error));
  return provider;
}

let provider = await made(1);

async function interact(request, response) {
  const { prompt, params, session } = await provider.interactionDetails(request, response);
  if (prompt.name === 'login') {
    return provider.interactionFinished(request, response, { login: { accountId: account.sub } });
  }
  const grant = new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  grant.addOIDCScope('openid profile');
  return provider.interactionFinished(request, response, { consent: { grantId: await grant.save() } });
}

async function control(request, response) {
  let text = '';
  for await (const chunk of request) text += chunk;
  const wanted = JSON.parse(text);
  if (wanted.account) account = wanted.account;
  if (wanted.generation) provider = await made(wanted.generation);
  response.end();
}

const server = http.createServer((request, response) => {
  const path = request.url.split('?')[0];
  const work =
    path === '/control'
      ? control(request, response)
      : path.startsWith('/interaction/')
        ? interact(request, response)
        : provider.callback()(request, response);
  Promise.resolve(work).catch((error) => {
    console.error(error);
    response.statusCode = 500;
    response.end();
  });
});
live(server, port, {});
