// Addresses without a framework. Device keys and filters travel in the query, so that no path has a dot
// (the gateway answers index.html to paths without one).

interface Place {
  path: string;
  search: string;
}

const here = (): Place => ({ path: location.pathname.replace(/(.)\/+$/, '$1'), search: location.search });

let place = $state.raw<Place>(here());

export const route = {
  get path(): string {
    return place.path;
  },
  get search(): string {
    return place.search;
  },
  get terms(): URLSearchParams {
    return new URLSearchParams(place.search);
  },
};

export function go(to: string, options: { replace?: boolean } = {}): void {
  const moved = new URL(to, location.href).pathname !== location.pathname;
  history[options.replace ? 'replaceState' : 'pushState'](null, '', to);
  place = here();
  if (moved) scrollTo(0, 0);
}

/** The page's own links: same origin, no file (a dot), no other tab, no download, no modifier key. */
function ours(click: MouseEvent): HTMLAnchorElement | undefined {
  if (click.defaultPrevented || click.button !== 0) return undefined;
  if (click.metaKey || click.ctrlKey || click.shiftKey || click.altKey) return undefined;
  const link = (click.target as Element | null)?.closest?.('a[href]') as HTMLAnchorElement | null;
  if (!link || link.target || link.hasAttribute('download') || link.origin !== location.origin)
    return undefined;
  const samePage = link.pathname === location.pathname && link.search === location.search && link.hash !== '';
  return samePage || link.pathname.includes('.') ? undefined : link;
}

/** Starts following clicks and the browser's back button; gives the way to stop. */
export function follow(): () => void {
  const click = (event: MouseEvent) => {
    const link = ours(event);
    if (!link) return;
    event.preventDefault();
    go(link.pathname + link.search + link.hash);
  };
  const back = () => {
    place = here();
  };
  document.addEventListener('click', click);
  addEventListener('popstate', back);
  return () => {
    document.removeEventListener('click', click);
    removeEventListener('popstate', back);
  };
}
