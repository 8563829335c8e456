// What a picture is of: read from the page's address, as shoot.mjs wrote it.
import { createTheme, dateTime } from '@grafana/data';

const asked = new URLSearchParams(location.search);

export const uid = asked.get('uid')!;
export const from = +asked.get('from')!; // seconds since the epoch, as `to`
export const to = +asked.get('to')!;
export const scrape = +(asked.get('scrape') ?? 15); // seconds between two scrapes
export const note = asked.get('note') ?? '';
export const theme = createTheme({ colors: { mode: (asked.get('theme') ?? 'dark') as 'dark' | 'light' } });
export const timeZone = 'utc';
export const timeRange = {
  from: dateTime(from * 1000),
  to: dateTime(to * 1000),
  raw: { from: dateTime(from * 1000), to: dateTime(to * 1000) },
};

const variables = ['job', 'instance', 'docket', 'registry'];
export const chosen = (variable: string) => asked.get(variable);

/** An expression with Grafana's variables filled in; literal windows are as much shorter as the address says. */
export function filledIn(expression: string, step: number): string {
  expression = expression.replaceAll('$__range_s', `${Math.round(to - from)}`);
  const intervals: Record<string, number> = {
    __rate_interval: Math.max(step + scrape, 4 * scrape),
    __interval: step,
    __range: Math.round(to - from),
  };
  for (const [name, seconds] of Object.entries(intervals)) expression = expression.replaceAll('$' + name, `${seconds}s`);
  for (const name of variables) expression = expression.replaceAll('$' + name, chosen(name) ?? '.*');
  return asked.has('five') ? expression.replaceAll('[5m]', `[${asked.get('five')}s]`) : expression;
}

/** Seconds between two points of a graph, as Grafana would choose them for so many pixels. */
export function stepFor(width: number): number {
  const round = [1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400];
  const wanted = (to - from) / Math.max(1, width);
  return Math.max(scrape, round.find((seconds) => seconds >= wanted) ?? 86400);
}
