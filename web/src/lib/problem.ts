// What went wrong with a call, in words a person can act on (RFC 9457 problem details).

interface ProblemBody {
  title?: unknown;
  detail?: unknown;
  code?: unknown;
}

export class Problem extends Error {
  override name = 'Problem';

  constructor(
    /** HTTP status; 0 when no answer came. */
    readonly status: number,
    readonly title: string,
    readonly detail: string,
    readonly code: string | null = null,
    /** Seconds the gateway asks to wait (Retry-After). */
    readonly wait_s: number | null = null,
  ) {
    super(detail ? `${title}: ${detail}` : title);
  }

  static unreachable(cause: unknown): Problem {
    const late = cause instanceof DOMException && cause.name === 'TimeoutError';
    return new Problem(
      0,
      late ? 'The gateway took too long to answer' : 'The gateway does not answer',
      'What it has already stored is safe.',
    );
  }

  /** What to do next. The gateway's own `detail` comes first on the page; this follows it. */
  get advice(): string {
    if (this.wait_s !== null) return `Wait ${this.wait_s} s, then try again.`;
    switch (this.status) {
      case 0:
        return 'Check that the gateway box is on and that this device is on the same network, then try again.';
      case 401:
        return 'Check the user name and the password.';
      case 403:
        return 'Ask somebody with the rights for this, or log in as another user.';
      case 404:
        return 'Go back and pick it from the list: it may have been removed since.';
      case 409:
        return 'Reload the page to see how it stands now.';
      case 429:
        return 'Wait a minute, then try again.';
      default:
        return this.status >= 500
          ? 'Try again. If it happens again, run “bedside status” on the gateway box.'
          : 'Correct what is named above and try again.';
    }
  }
}

/** Seconds of a Retry-After header: a number of seconds or an HTTP date. */
export function retryAfter(header: string | null, now_ms: number): number | null {
  if (!header) return null;
  if (/^\d{1,6}$/.test(header.trim())) return Number(header);
  const at = Date.parse(header);
  return Number.isNaN(at) ? null : Math.max(0, Math.ceil((at - now_ms) / 1000));
}

const text = (value: unknown): string => (typeof value === 'string' ? value : '');

/** Reads an error answer; a body that is no problem document still gives a usable Problem. */
export async function problemFrom(response: Response): Promise<Problem> {
  const body: ProblemBody = await response.json().catch(() => ({}));
  return new Problem(
    response.status,
    text(body?.title) || `The gateway answered ${response.status}`,
    text(body?.detail),
    text(body?.code) || null,
    retryAfter(response.headers.get('Retry-After'), Date.now()),
  );
}

/** Whatever was thrown, as a Problem. */
export function asProblem(thrown: unknown): Problem {
  if (thrown instanceof Problem) return thrown;
  return new Problem(
    -1,
    'The page met a fault of its own',
    thrown instanceof Error ? thrown.message : String(thrown),
  );
}
