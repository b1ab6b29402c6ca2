// A SMART Backend Services token server on the OpenID-certified oidc-provider: private_key_jwt with RS384 and ES384,
// client keys inline, access tokens as JWTs for the FHIR server.
import http from 'node:http';
import { exportJWK, generateKeyPair } from 'jose';
import Provider from 'oidc-provider';
import { live, settings } from './life.mjs';

const { port, audience, clientId, jwks, life = 300 } = settings;
const kinds = ['Observation', 'Device', 'DeviceMetric', 'Patient', 'Specimen'];
const scopes = kinds.map((kind) => `system/${kind}.crus`);

async function signingKey(alg) {
  const { privateKey } = await generateKeyPair(alg, { extractable: true });
  return { ...(await exportJWK(privateKey)), use: 'sig', alg, kid: `peer-${alg}` };
}

const provider = new Provider(`http://127.0.0.1:${port}`, {
  scopes,
  // The provider insists on an RS256 key although no id token is ever made.
  jwks: { keys: [await signingKey('ES384'), await signingKey('RS256')] },
  clients: ['RS384', 'ES384'].map((alg) => ({
    client_id: `${clientId}-${alg}`,
    grant_types: ['client_credentials'],
    response_types: [],
    redirect_uris: [],
    token_endpoint_auth_method: 'private_key_jwt',
    token_endpoint_auth_signing_alg: alg,
    jwks: { keys: jwks.keys.filter((key) => key.alg === alg) },
  })),
  enabledJWA: { clientAuthSigningAlgValues: ['RS384', 'ES384'] },
  clientAuthMethods: ['private_key_jwt'],
  ttl: { ClientCredentials: life },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => audience,
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({
        scope: scopes.join(' '),
        audience,
        accessTokenTTL: life,
        accessTokenFormat: 'jwt',
        jwt: { sign: { alg: 'ES384' } },
      }),
    },
  },
});

live(http.createServer(provider.callback()), port, {});
