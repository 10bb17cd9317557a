/**
 * Charts as SVG, drawn by ECharts without a browser.
 *
 * A chart has the colours of a light page; a style sheet within it exchanges them where the reader's screen is dark, with the
 * background, so that it can be read on any page.
 */
import * as echarts from 'echarts';
import { PEERS, type PeerName } from '../harness/types.js';

/** Colours that people with any kind of colour vision tell apart (Okabe and Ito's), and grey. */
const COLOURS: Readonly<Record<PeerName, string>> = {
  lcfs: '#0072b2',
  overlay2: '#d55e00',
  btrfs: '#009e73',
  'fuse-overlayfs': '#cc79a7',
  vfs: '#8c8c8c',
};
const OTHER_COLOURS = ['#e69f00', '#56b4e9', '#b8a900'];
const [PAPER, INK, GRID] = ['#ffffff', '#1f2328', '#d1d9e0'];
const [DARK_PAPER, DARK_INK, DARK_GRID] = ['#0d1117', '#e6edf3', '#3d444d'];
const WIDTH = 860;
const FONT = 'system-ui, Helvetica, Arial, sans-serif';
const SYMBOLS = ['circle', 'rect', 'triangle', 'diamond', 'roundRect', 'arrow'];

/** A point with the range of what was measured; null where a peer has no value. */
export interface Sample {
  median: number;
  least: number;
  most: number;
}

export interface Series {
  peer: string;
  samples: (Sample | null)[];
}

export interface Chart {
  title: string;
  /** Names of the bars' groups, or x values of lines. */
  categories: readonly string[] | readonly number[];
  series: readonly Series[];
  yName: string;
  xName?: string;
  /** Values that lie far apart: ratios, or several orders of magnitude. */
  logarithmic: boolean;
}

function colourOf(peer: string, index: number): string {
  return COLOURS[peer as PeerName] ?? OTHER_COLOURS[index % OTHER_COLOURS.length]!;
}

/** Groups of bars, one for each category; `base` draws a line at the value that the others are compared with. */
export function barChart(chart: Chart, base?: number): string {
  const rows = Math.max(...chart.categories.map((name) => wrap(String(name)).split('\n').length));
  const height = 400 + 16 * rows;
  const series = chart.series.map((one, index) => bars(one, index, index === 0 ? base : undefined));
  const ranges = chart.series.map((one, index) => rangeMarks(one, index, chart.series.length));
  const xAxis = {
    type: 'category',
    axisLine: { lineStyle: { color: INK } },
    data: chart.categories.map((name) => wrap(String(name))),
    axisLabel: label({ interval: 0 }),
  };
  return render(chart, { xAxis: { ...xAxis, axisTick: { show: false } }, series: [...series, ...ranges] }, height, 40 + 16 * rows);
}

/** A line for each peer against a number. */
export function lineChart(chart: Chart): string {
  const numbers = chart.categories.map(Number);
  const wide = Math.max(...numbers) / Math.max(1, Math.min(...numbers)) > 20;
  const xAxis = {
    type: wide ? 'log' : 'value',
    ...(wide ? {} : { min: Math.min(...numbers), max: Math.max(...numbers) }),
    name: chart.xName ?? '',
    nameLocation: 'middle',
    nameGap: 28,
    axisLabel: label({}),
    axisLine: { lineStyle: { color: INK } },
    splitLine: { show: false },
  };
  const series = chart.series.map((one, index) => ({
    name: one.peer,
    type: 'line',
    symbol: SYMBOLS[index % SYMBOLS.length],
    symbolSize: 9,
    lineStyle: { width: one.peer === 'lcfs' ? 3 : 2 },
    itemStyle: { color: colourOf(one.peer, index) },
    data: one.samples.flatMap((sample, at) => (sample === null ? [] : [[numbers[at], sample.median]])),
  }));
  return render(chart, { xAxis, series }, 400, 60);
}

function bars({ peer, samples }: Series, index: number, base: number | undefined): object {
  const line = {
    silent: true,
    symbol: 'none',
    label: { show: false },
    lineStyle: { color: INK, type: 'solid', width: 1 },
    data: [{ yAxis: base }],
  };
  return {
    name: peer,
    type: 'bar',
    itemStyle: { color: colourOf(peer, index) },
    barCategoryGap: '25%',
    barGap: '8%',
    data: samples.map((sample) => sample?.median ?? '-'),
    ...(base === undefined ? {} : { markLine: line }),
  };
}

/** Lines from the least to the most of each bar. */
function rangeMarks({ samples }: Series, index: number, count: number): object {
  interface Api {
    value(dimension: number): number;
    coord(point: [number, number]): [number, number];
    size(point: [number, number]): [number, number];
  }
  const renderItem = (_: unknown, api: Api): object => {
    const at = api.value(0);
    const [least, most] = [api.coord([at, api.value(1)]), api.coord([at, api.value(2)])];
    // As ECharts lays out bars: a group takes 75 % of its category, a gap 8 % of a bar.
    const bar = (api.size([1, 0])[0] * 0.75) / (count + 0.08 * (count - 1));
    const x = least[0] + (index - (count - 1) / 2) * bar * 1.08;
    return { type: 'line', shape: { x1: x, y1: least[1], x2: x, y2: most[1] }, style: { stroke: INK, lineWidth: 1.2 } };
  };
  const data = samples.flatMap((sample, at) => (sample === null || sample.least === sample.most ? [] : [[at, sample.least, sample.most]]));
  return { type: 'custom', renderItem, silent: true, z: 5, data };
}

const label = (more: object): object => ({ color: INK, fontFamily: FONT, fontSize: 12, ...more });

function render(chart: Chart, specific: object, height: number, bottom: number): string {
  const option = {
    animation: false,
    backgroundColor: PAPER,
    textStyle: { fontFamily: FONT, color: INK },
    title: { text: chart.title, left: 16, top: 10, textStyle: { color: INK, fontSize: 15, fontFamily: FONT } },
    legend: { top: 38, left: 12, data: chart.series.map(({ peer }) => peer), textStyle: { color: INK, fontFamily: FONT }, itemGap: 18 },
    grid: { left: 70, right: 24, top: 92, bottom },
    yAxis: {
      type: chart.logarithmic ? 'log' : 'value',
      name: chart.yName,
      nameTextStyle: { color: INK, align: 'left', fontFamily: FONT },
      axisLabel: label({ formatter: (value: number) => value.toLocaleString('en', { maximumSignificantDigits: 3 }) }),
      splitLine: { lineStyle: { color: GRID } },
    },
    ...specific,
  };
  const drawing = echarts.init(null, null, { renderer: 'svg', ssr: true, width: WIDTH, height });
  try {
    drawing.setOption(option as unknown as echarts.EChartsOption);
    return withDarkColours(drawing.renderToSVGString());
  } finally {
    drawing.dispose();
  }
}

function withDarkColours(svg: string): string {
  const pairs = [
    [PAPER, DARK_PAPER],
    [INK, DARK_INK],
    [GRID, DARK_GRID],
  ] as const;
  const rules = pairs.map(([light, dark]) => `[fill="${light}"]{fill:${dark}}[stroke="${light}"]{stroke:${dark}}`);
  return svg.replace(/(<svg[^>]*>)/, `$1\n<style>@media (prefers-color-scheme: dark){${rules.join('')}}</style>`);
}

/** Breaks a label into lines of a width that leaves room for its neighbours. */
function wrap(text: string): string {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + word.length < 13) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines.join('\n');
}

/** Peers in their usual order, others after them. */
export function orderPeers(peers: Iterable<string>): string[] {
  const rank = (peer: string): number => {
    const at = PEERS.indexOf(peer as PeerName);
    return at < 0 ? PEERS.length : at;
  };
  return [...new Set(peers)].toSorted((a, b) => rank(a) - rank(b));
}
