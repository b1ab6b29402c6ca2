// What a FHIR resource or an OperationOutcome says, in one line.

import { t } from './i18n';
import { ExactNumber, at, parseExact, type ExactJson } from './json';

const text = (value: ExactJson | undefined): string | null =>
  typeof value === 'string' ? value : value instanceof ExactNumber ? value.digits : null;

const concept = (value: ExactJson | undefined): string | null =>
  text(at(value, 'text')) ?? text(at(value, 'coding', 0, 'display')) ?? text(at(value, 'coding', 0, 'code'));

function valueOf(node: ExactJson): string | null {
  const number = text(at(node, 'valueQuantity', 'value'));
  if (number !== null) {
    const comparator = text(at(node, 'valueQuantity', 'comparator')) ?? '';
    const unit = text(at(node, 'valueQuantity', 'unit')) ?? text(at(node, 'valueQuantity', 'code')) ?? '';
    return `${comparator}${number} ${unit}`.trim();
  }
  const absent = concept(at(node, 'dataAbsentReason'));
  return (
    text(at(node, 'valueString')) ??
    concept(at(node, 'valueCodeableConcept')) ??
    (absent && t('no value: {absent}', { absent }))
  );
}

export interface ResourceLine {
  type: string;
  id: string | null;
  says: string;
}

export function describe(resource: ExactJson): ResourceLine {
  const components = at(resource, 'component');
  const parts = Array.isArray(components)
    ? components.map((part) => `${concept(at(part, 'code')) ?? '?'} ${valueOf(part) ?? ''}`.trim())
    : [];
  const own = valueOf(resource);
  const name =
    concept(at(resource, 'code')) ??
    text(at(resource, 'deviceName', 0, 'name')) ??
    concept(at(resource, 'type')) ??
    text(at(resource, 'identifier', 0, 'value'));
  const values = [own, ...parts].filter((part) => part !== null).join(' · ');
  return {
    type: text(at(resource, 'resourceType')) ?? t('Not a FHIR resource'),
    id: text(at(resource, 'id')),
    says: [name, values].filter(Boolean).join(': '),
  };
}

export interface AnswerText {
  /** The server's own words for people, from an OperationOutcome. */
  issues: string[];
  json: ExactJson | null;
  plain: string | null;
}

/** A server's answer: JSON where it is JSON, with the issues of an OperationOutcome told first. */
export function readAnswer(body: ExactJson | undefined): AnswerText {
  if (body === undefined || body === null || body === '') return { issues: [], json: null, plain: null };
  let json: ExactJson;
  try {
    json = typeof body === 'string' ? parseExact(body) : body;
  } catch {
    return { issues: [], json: null, plain: String(body) };
  }
  const issues = at(json, 'issue');
  const said = (Array.isArray(issues) ? issues : []).map((issue) => {
    const words =
      text(at(issue, 'diagnostics')) ?? concept(at(issue, 'details')) ?? text(at(issue, 'code')) ?? '';
    const severity = text(at(issue, 'severity'));
    return severity ? `${severity}: ${words}` : words;
  });
  return { issues: said, json, plain: null };
}
