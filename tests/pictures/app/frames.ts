// From a panel's queries to Grafana's data frames, with the panel's own field configuration.
import {
  applyFieldOverrides, cacheFieldDisplayNames, FieldConfigOptionsRegistry, FieldType, standardFieldConfigEditorRegistry,
  standardTransformers, standardTransformersRegistry, toDataFrame, transformDataFrame, type DataFrame,
} from '@grafana/data';
import { filledIn, from, stepFor, theme, timeZone, to } from './view';

/** What Grafana's time series panel takes for what the JSON leaves out. */
const TIME_SERIES = {
  drawStyle: 'line', lineInterpolation: 'linear', lineWidth: 1, fillOpacity: 0, gradientMode: 'none', spanNulls: false,
  insertNulls: false, showPoints: 'auto', pointSize: 5, axisPlacement: 'auto', axisColorMode: 'text', axisBorderShow: false,
  axisCenteredZero: false, barAlignment: 0, barWidthFactor: 0.6, scaleDistribution: { type: 'linear' },
  hideFrom: { tooltip: false, viz: false, legend: false }, thresholdsStyle: { mode: 'off' },
};

const option = (id: string, isCustom = false) =>
  ({ id, path: id.replace(/^custom\./, ''), name: id, isCustom, process: (value: any) => value, shouldApply: () => true, override: () => null, editor: () => null, settings: {} }) as any;
const STANDARD = ['color', 'unit', 'decimals', 'min', 'max', 'noValue', 'thresholds', 'mappings', 'links', 'displayName', 'description'].map((id) => option(id));
standardFieldConfigEditorRegistry.setInit(() => STANDARD);
standardTransformersRegistry.setInit(() => {
  const byId = new Map(Object.values(standardTransformers).map((each: any) => [each.id, each]));
  return [...byId.values()].map((each: any) => ({ id: each.id, name: each.name, transformation: async () => each, editor: () => null, aliasIds: each.aliasIds })) as any;
});

export async function ask(path: string, query: Record<string, string | number>): Promise<any> {
  const answer = await (await fetch(`/api/v1/${path}?` + new URLSearchParams(query as any))).json();
  if (answer.status !== 'success') throw new Error(answer.error);
  return answer.data;
}

const number = (text: string) => ({ NaN, '+Inf': Infinity, '-Inf': -Infinity })[text] ?? +text;

/** A panel draws what is not finite as a gap. */
const drawn = (text: string) => (Number.isFinite(number(text)) ? number(text) : null);

function legend(target: any, labels: Record<string, string>): string {
  if (target.legendFormat) return target.legendFormat.replace(/\{\{\s*(\w+)\s*\}\}/g, (_: string, label: string) => labels[label] ?? '');
  const { __name__ = '', ...others } = labels;
  const pairs = Object.entries(others).map(([name, value]) => `${name}="${value}"`);
  return pairs.length || !__name__ ? `${__name__}{${pairs.join(', ')}}` : __name__;
}

const value = (labels: Record<string, string>, values: unknown[], target: any) =>
  ({ name: 'Value', type: FieldType.number, labels, values, config: { displayNameFromDS: legend(target, labels) } });

async function overTime(target: any, width: number): Promise<DataFrame[]> {
  const step = stepFor(width);
  const [start, end] = [from, to].map((moment) => Math.floor(moment / step) * step);
  const { result } = await ask('query_range', { query: filledIn(target.expr, step), start, end, step });
  if (target.format === 'heatmap') result.sort((one: any, other: any) => number(one.metric.le) - number(other.metric.le));
  return result.map((each: any) => toDataFrame({ refId: target.refId, name: legend(target, each.metric), fields: [
    { name: 'Time', type: FieldType.time, values: each.values.map(([moment]: any) => moment * 1000), config: { interval: step * 1000 } },
    value(each.metric, each.values.map(([, text]: any) => drawn(text)), target),
  ] }));
}

async function now(target: any, isOneOfSeveral: boolean): Promise<DataFrame[]> {
  const { result, resultType } = await ask('query', { query: filledIn(target.expr, 60), time: to });
  const rows = resultType === 'scalar' ? [{ metric: {}, value: result }] : result;
  const times = (some: any[]) => ({ name: 'Time', type: FieldType.time, values: some.map((row) => row.value[0] * 1000) });
  if (target.format !== 'table')
    return rows.map((row: any) => toDataFrame({ refId: target.refId, fields: [times([row]), value(row.metric, [number(row.value[1])], target)] }));
  if (!rows.length) return [];
  const labels = [...new Set<string>(rows.flatMap((row: any) => Object.keys(row.metric)))].sort();
  return [toDataFrame({ refId: target.refId, fields: [
    times(rows),
    ...labels.map((label) => ({ name: label, type: FieldType.string, values: rows.map((row: any) => row.metric[label] ?? '') })),
    { name: isOneOfSeveral ? `Value #${target.refId}` : 'Value', type: FieldType.number, values: rows.map((row: any) => number(row.value[1])) },
  ] })];
}

const transformed = (panel: any, frames: DataFrame[]): Promise<DataFrame[]> =>
  new Promise((done) => transformDataFrame(panel.transformations ?? [], frames, { interpolate: (text: string) => text } as any).subscribe(done));

function configured(panel: any, frames: DataFrame[]): DataFrame[] {
  const { defaults, overrides } = panel.fieldConfig;
  const isGraph = panel.type === 'timeseries';
  const custom = isGraph ? { ...TIME_SERIES, ...defaults.custom, stacking: { mode: 'none', group: 'A', ...defaults.custom?.stacking } } : defaults.custom;
  const names = new Set([...Object.keys(custom ?? {}), ...overrides.flatMap((each: any) => each.properties.map(({ id }: any) => id)).filter((id: string) => id.startsWith('custom.')).map((id: string) => id.slice(7))]);
  const done = applyFieldOverrides({
    data: frames,
    fieldConfig: { defaults: { color: { mode: isGraph ? 'palette-classic' : 'thresholds' }, ...defaults, custom }, overrides },
    fieldConfigRegistry: new FieldConfigOptionsRegistry(() => [...STANDARD, ...[...names].map((name) => option('custom.' + name, true))]),
    replaceVariables: (text: string) => text, theme, timeZone,
  } as any);
  cacheFieldDisplayNames(done); // or renamed columns show their old names
  return done;
}

/** What a panel shows. */
export async function framesOf(panel: any, width: number): Promise<DataFrame[]> {
  const asked = await Promise.all(panel.targets.map((target: any) => (target.range && !target.instant ? overTime(target, width) : now(target, panel.targets.length > 1))));
  return configured(panel, await transformed(panel, asked.flat()));
}

export interface Note { name: string; color: string; from: number; to?: number }

/** The dashboard's annotations: moments, and regions where samples follow each other. */
export async function annotationsOf(dashboard: any): Promise<Note[]> {
  const notes: Note[] = [];
  for (const each of dashboard.annotations.list.filter(({ expr }: any) => expr)) {
    const step = Math.max(stepFor(100), (to - from) / 11000);
    for (const series of (await ask('query_range', { query: filledIn(each.expr, step), start: from, end: to, step })).result) {
      let open: Note | undefined;
      for (const [moment, sample] of series.values) {
        if (!(+sample > 0)) continue;
        if (open && moment * 1000 - (open.to ?? open.from) <= step * 1000) open.to = moment * 1000;
        else notes.push((open = { name: each.name, color: theme.visualization.getColorByName(each.iconColor), from: moment * 1000 }));
      }
    }
  }
  return notes;
}
