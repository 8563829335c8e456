// A heatmap by the rules of Grafana's own, which is in no npm package: its scheme "Oranges" (d3's, turned around on dark),
// from the least cell above zero to the greatest, one cell for each bucket and step.
import React from 'react';
import { formattedValueToString, getValueFormat, type DataFrame } from '@grafana/data';
import { from, theme, to } from './view';

const ORANGES = ['#fff5eb', '#fee6ce', '#fdd0a2', '#fdae6b', '#fd8d3c', '#f16913', '#d94801', '#a63603', '#7f2704'];
const LEFT = 60, BOTTOM = 46;

function paletteOf(steps: number): string[] {
  const channels = (theme.isDark ? [...ORANGES].reverse() : ORANGES).map((hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));
  return Array.from({ length: steps }, (_, step) => {
    const place = (step / (steps - 1)) * (channels.length - 1), lower = Math.min(channels.length - 2, Math.floor(place));
    return `rgb(${channels[lower].map((one, at) => Math.round(one + (channels[lower + 1][at] - one) * (place - lower))).join(',')})`;
  });
}

/** Counts of single buckets; Prometheus gives each with all below it. */
function cellsOf(frames: DataFrame[]): [time: number, bucket: number, count: number][] {
  const counts = frames.map(({ fields: [time, value] }) => new Map(time.values.map((moment: number, at: number) => [moment, value.values[at] ?? 0])));
  const times = [...new Set(counts.flatMap((bucket) => [...bucket.keys()]))];
  return times.flatMap((time) => counts.map((bucket, at): [number, number, number] => [time, at, (bucket.get(time) ?? 0) - (at ? counts[at - 1].get(time) ?? 0 : 0)])).filter(([, , count]) => count > 1e-9);
}

export function Heatmap({ panel, frames, width, height }: { panel: any; frames: DataFrame[]; width: number; height: number }) {
  const canvas = React.useRef<HTMLCanvasElement>(null);
  React.useEffect(() => {
    const element = canvas.current!, pen = element.getContext('2d')!;
    [element.width, element.height] = [width * devicePixelRatio, height * devicePixelRatio];
    pen.scale(devicePixelRatio, devicePixelRatio);
    const palette = paletteOf(panel.options.color.steps), cells = cellsOf(frames), counts = cells.map(([, , count]) => count);
    const least = Math.min(...counts), most = Math.max(...counts), step = frames[0].fields[0].config.interval!;
    const inner = { width: width - LEFT - 8, height: height - BOTTOM }, row = inner.height / frames.length;
    const x = (time: number) => LEFT + ((time / 1000 - from) / (to - from)) * inner.width, y = (bucket: number) => inner.height - (bucket + 1) * row;
    for (const [time, bucket, count] of cells) {
      pen.fillStyle = palette[Math.round(((count - least) / (most - least || 1)) * (palette.length - 1))];
      const left = Math.max(LEFT, x(time - step));
      pen.fillRect(left, y(bucket), Math.max(1, x(time) - left - 1), row - 1);
    }
    pen.fillStyle = theme.colors.text.primary;
    pen.font = '12px Inter';
    pen.textAlign = 'right';
    const named = getValueFormat(panel.options.yAxis.unit), every = Math.ceil(16 / row);
    frames.forEach(({ name }, bucket) => bucket % every || pen.fillText(name === '+Inf' ? '+Inf' : formattedValueToString(named(+name!)), LEFT - 6, y(bucket) + 8));
    pen.textAlign = 'center';
    for (let tick = 1; tick < 6; tick++) {
      const time = (from + ((to - from) * tick) / 6) * 1000;
      pen.fillText(new Date(time).toISOString().slice(11, to - from < 1800 ? 19 : 16), x(time), inner.height + 16);
    }
    palette.forEach((color, at) => { pen.fillStyle = color; pen.fillRect(LEFT + at * 6, inner.height + 26, 6, 8); });
    pen.fillStyle = theme.colors.text.primary;
    pen.textAlign = 'left';
    pen.fillText(`${least.toFixed(0)} to ${most.toFixed(0)}`, LEFT + palette.length * 6 + 8, inner.height + 34);
  });
  return <canvas ref={canvas} style={{ width, height }} />;
}
