// Bundles page.tsx into dist/.
import * as esbuild from 'esbuild';

await esbuild.build({
  entryPoints: ['page.tsx'],
  bundle: true,
  outdir: 'dist',
  format: 'esm',
  jsx: 'automatic',
  platform: 'browser',
  mainFields: ['browser', 'module', 'main'],
  define: { 'process.env.NODE_ENV': '"production"', global: 'window' },
  loader: Object.fromEntries(['.woff2', '.woff', '.ttf', '.svg', '.png'].map((ending) => [ending, 'file'])),
  logLevel: 'error',
});
