// Draws one dashboard, given as Grafana's JSON, with Grafana's own components.
import React from 'react';
import { createRoot } from 'react-dom/client';
import { getDisplayValueAlignmentFactors, getFieldDisplayValues, ThemeContext, type DataFrame } from '@grafana/data';
import { initPluginTranslations } from '@grafana/i18n';
import { BigValue, GlobalStyles, PanelChrome, TimeSeries, VizRepeater } from '@grafana/ui';
import { TableNG } from '@grafana/ui/unstable';
import '@fontsource/inter/400.css';
import '@fontsource/inter/500.css';
import '@fontsource/roboto-mono/400.css';
import { annotationsOf, framesOf, type Note } from './frames';
import { Heatmap } from './heatmap';
import { chosen, from, note, theme, timeRange, timeZone, to, uid } from './view';

const ROW = 38, GAP = 8, PADDING = 16; // pixels, as in Grafana
const PHONE = 769; // below it, Grafana lays all panels under each other

Object.assign(window, { grafanaBootData: { settings: {}, user: {} }, __grafana_public_path__: '/public/' });

const Centred = ({ text }: { text: string }) => (
  <div style={{ height: '100%', display: 'flex', alignItems: 'center', justifyContent: 'center', textAlign: 'center', color: theme.colors.text.secondary, padding: 12 }}>{text}</div>
);

function Notes({ builder, notes }: { builder: any; notes: Note[] }) {
  const isDone = React.useRef(false);
  if (!isDone.current) {
    isDone.current = true;
    builder.addHook('draw', ({ ctx: pen, valToPos, bbox: { top, height } }: any) => {
      pen.save();
      for (const each of notes) {
        const edges = [each.from, each.to ?? each.from].map((moment) => valToPos(Math.max(moment, from * 1000), 'x', true));
        pen.strokeStyle = pen.fillStyle = each.color;
        pen.setLineDash([5, 5]);
        for (const x of new Set(edges)) { pen.beginPath(); pen.moveTo(x, top); pen.lineTo(x, top + height); pen.stroke(); }
        pen.fillRect(edges[0] - 2, top + height, Math.max(4, edges[1] - edges[0]), 4);
        pen.globalAlpha = 0.1;
        pen.fillRect(edges[0], top, edges[1] - edges[0], height);
        pen.globalAlpha = 1;
      }
      pen.restore();
    });
  }
  return null;
}

function Stat({ panel, frames, width, height }: any) {
  const { reduceOptions, orientation, graphMode, wideLayout, ...look } = panel.options;
  const getValues = () => getFieldDisplayValues({
    fieldConfig: { ...panel.fieldConfig, defaults: { color: { mode: 'thresholds' }, ...panel.fieldConfig.defaults } },
    data: frames, reduceOptions, replaceVariables: (text: string) => text, sparkline: graphMode !== 'none', theme, timeZone,
  } as any);
  return (
    <VizRepeater getValues={getValues} getAlignmentFactors={getDisplayValueAlignmentFactors} source={frames} width={width} height={height}
      itemSpacing={3} orientation={orientation} autoGrid renderCounter={0}
      renderValue={({ value, ...place }: any) => (
        <BigValue {...look} {...place} graphMode={graphMode} value={value.display} sparkline={value.sparkline} disableWideLayout={!wideLayout} theme={theme} />
      )} />
  );
}

const isEmpty = (panel: any, frames: DataFrame[]) => frames.every((frame) => !frame.length) && panel.type !== 'stat';

function Content({ panel, frames, notes, width, height }: any) {
  if (isEmpty(panel, frames)) return <Centred text={panel.fieldConfig.defaults.noValue} />;
  const place = { width, height };
  switch (panel.type) {
    case 'stat': return <Stat panel={panel} frames={frames} {...place} />;
    case 'heatmap': return <Heatmap panel={panel} frames={frames} {...place} />;
    case 'table': return (
      <TableNG {...place} data={frames[0]} fieldConfig={panel.fieldConfig} cellHeight={panel.options.cellHeight} sortBy={panel.options.sortBy}
        noValue={panel.fieldConfig.defaults.noValue} timeRange={timeRange as any} columnMinWidth={80} />
    );
    default: return (
      <TimeSeries {...place} frames={frames} timeRange={timeRange as any} timeZone={timeZone} legend={panel.options.legend}>
        {(builder: any) => <Notes builder={builder} notes={notes} />}
      </TimeSeries>
    );
  }
}

class Guarded extends React.Component<{ children: React.ReactNode; onError: (error: unknown) => void }, { failed: boolean }> {
  state = { failed: false };
  static getDerivedStateFromError = () => ({ failed: true });
  componentDidCatch(error: unknown) { this.props.onError(error); }
  render() { return this.state.failed ? <Centred text="DRAWING FAILED" /> : this.props.children; }
}

interface Seen { title: string; hasData: boolean; error?: string }

/** Where each panel lies, in pixels: as the JSON says, or under each other on a phone. */
function placesOf(panels: any[]): { left: number; top: number; width: number; height: number }[] {
  const column = (innerWidth - 2 * PADDING) / 24;
  let bottom = 0;
  return panels.map(({ gridPos: { x, y, w, h } }) => {
    if (innerWidth >= PHONE) return { left: x * column, top: y * ROW, width: w * column - GAP, height: h * ROW - GAP };
    bottom += h * ROW;
    return { left: 0, top: bottom - h * ROW, width: 24 * column - GAP, height: h * ROW - GAP };
  });
}

function Header({ dashboard }: any) {
  const variables = dashboard.templating.list.filter(({ hide }: any) => hide !== 2);
  const clock = (seconds: number) => new Date(seconds * 1000).toISOString().slice(11, 19);
  return <>
    <div style={{ fontSize: 18, marginBottom: 4 }}>{dashboard.title} <span style={{ fontSize: 12, color: theme.colors.text.secondary }}>{dashboard.description} {clock(from)} to {clock(to)} UTC. {note}</span></div>
    <div style={{ display: 'flex', flexWrap: 'wrap', gap: 8, marginBottom: 10, fontSize: 12 }}>{variables.map(({ name, label, type, query }: any) => (
      <span key={name} style={{ border: `1px solid ${theme.colors.border.medium}`, padding: '4px 8px' }}>
        <b style={{ fontWeight: 500 }}>{label}</b> {type === 'datasource' ? query : chosen(name) ?? 'All'}
      </span>
    ))}</div>
  </>;
}

async function main() {
  await initPluginTranslations('pictures');
  const dashboard = await (await fetch(`/dashboards/${uid}.json`)).json();
  const panels = dashboard.panels, places = placesOf(panels);
  const notes = await annotationsOf(dashboard);
  const seen = new Map<number, Seen>();
  const data = await Promise.all(panels.map(async (panel: any, at: number) => {
    if (panel.type === 'row') return [];
    const panelSeen: Seen = { title: panel.title, hasData: false };
    seen.set(panel.id, panelSeen);
    try {
      const frames = await framesOf(panel, places[at].width);
      panelSeen.hasData = frames.some((frame) => frame.length > 0);
      return frames;
    } catch (error) {
      panelSeen.error = String(error);
      return [];
    }
  }));
  const height = Math.max(...places.map(({ top, height }) => top + height + GAP));
  const Page = () => (
    <ThemeContext.Provider value={theme}>
      <GlobalStyles hackNoBackdropBlur />
      <div style={{ padding: PADDING, background: theme.colors.background.canvas, fontFamily: theme.typography.fontFamily, color: theme.colors.text.primary }}>
        <Header dashboard={dashboard} />
        <div style={{ position: 'relative', height }}>{panels.map((panel: any, at: number) => (
          <div key={panel.id} className={panel.type} data-title={panel.title} style={{ position: 'absolute', ...places[at] }}>
            {panel.type === 'row' ? <div style={{ fontSize: 16, fontWeight: 500, paddingTop: 4 }}>▾ {panel.title}</div> : (
              <PanelChrome title={panel.title} description={panel.description} width={places[at].width} height={places[at].height} padding={panel.type === 'table' ? 'none' : 'md'}>
                {(width: number, height: number) => (
                  <Guarded onError={(error) => (seen.get(panel.id)!.error = String(error))}>
                    <Content panel={panel} frames={data[at]} notes={notes} width={width} height={height} />
                  </Guarded>
                )}
              </PanelChrome>
            )}
          </div>
        ))}</div>
      </div>
    </ThemeContext.Provider>
  );
  createRoot(document.getElementById('root')!).render(<Page />);
  await document.fonts.ready;
  // Grafana's table draws its rows when it has found out how wide it is
  const isBare = (panel: any, at: number) => panel.type === 'table' && !isEmpty(panel, data[at]) && document.querySelectorAll(`[data-title="${panel.title}"] [role=row]`).length < 2;
  for (let tries = 0; panels.some(isBare) && tries < 200; tries++) await new Promise((done) => setTimeout(done, 100));
  panels.filter(isBare).forEach((panel: any) => (seen.get(panel.id)!.error = 'its rows are not drawn'));
  setTimeout(() => Object.assign(window, { drawn: { height: document.documentElement.scrollHeight, panels: [...seen.values()] } }), 1200);
}

main().catch((error) => Object.assign(window, { drawn: { height: 100, panels: [{ title: 'the page', hasData: false, error: String(error.stack) }] } }));
