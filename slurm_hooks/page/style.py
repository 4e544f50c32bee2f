# SPDX-License-Identifier: Apache-2.0
"""How the page of a job looks: light and dark, wide and narrow, on paper. ASCII, no reference to anything outside."""

from __future__ import annotations

STYLE = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1b1f24;--soft:#59636e;--line:#d1d9e0;--lane:#f3f5f7;
--ok:#2f6f4f;--bad:#a4262c;--going:#1f5fa8;--fill:#5b8fc7;--ok-bg:#e6f4ec;--bad-bg:#fdeaea;--going-bg:#e8f1fb}
@media (prefers-color-scheme:dark){:root{--paper:#14171b;--ink:#e6e9ed;--soft:#9aa5b1;--line:#353c44;--lane:#1d2228;
--ok:#6fd0a0;--bad:#ff9a94;--going:#85b8f2;--fill:#4f86c2;--ok-bg:#16291f;--bad-bg:#331a1b;--going-bg:#17263a}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:64rem;margin:0 auto;padding:1rem}
h1{font-size:1.5rem;margin:.2rem 0 1rem}h1 small{font-weight:normal;color:var(--soft)}
h2,h3{font-size:1rem;margin:1.8rem 0 .5rem}
h2.run{font-size:1.15rem;border-top:1px solid var(--line);padding-top:1rem}
p,li,dd,td,th{overflow-wrap:anywhere}
.headline{display:flex;gap:.8rem;align-items:baseline;font-size:1.15rem;padding:.8rem 1rem;border-radius:.5rem;
border-left:.4rem solid;margin:0 0 1rem}
.headline .sign{font-weight:bold;font-size:1.4rem;line-height:1}
.ok{background:var(--ok-bg);border-color:var(--ok)}.ok .sign{color:var(--ok)}
.bad{background:var(--bad-bg);border-color:var(--bad)}.bad .sign{color:var(--bad)}
.going{background:var(--going-bg);border-color:var(--going)}.going .sign{color:var(--going)}
.spoken{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
dl{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));gap:.6rem 1.2rem;margin:0 0 1.2rem}
dl div:last-child{grid-column:span 2}
dt{color:var(--soft);font-size:.8rem}dd{margin:0}
figure{margin:0;padding:.8rem 1rem;border:1px solid var(--line);border-radius:.5rem}
figure svg{display:block;overflow:visible}
.drawing{padding:0 .4rem}
figcaption{display:flex;flex-wrap:wrap;gap:.2rem 1.1rem;font-size:.85rem;color:var(--soft);margin-top:.8rem}
figcaption span{display:inline-flex;align-items:center;gap:.4rem}
text{fill:var(--ink);font-size:13px}.tick{fill:var(--soft);font-size:12px}.dim{fill:var(--soft)}
.name{font-weight:600}
.grid{stroke:var(--line)}.lane{fill:var(--lane)}
.bar{fill:var(--fill)}.bar.died{fill:var(--bad)}.bar.alive{fill:none;stroke:var(--fill);stroke-width:2;
stroke-dasharray:5 3}.bar.pull{fill:var(--soft)}.bar.hook{fill:var(--going)}
.hatch{stroke:var(--paper);stroke-width:3}
.mark{fill:var(--ink);stroke:var(--paper);stroke-width:1}.mark.bad-mark{fill:var(--bad)}
.mark.line{fill:none;stroke:var(--bad);stroke-width:2.5}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.35rem .7rem .35rem 0;border-bottom:1px solid var(--line);vertical-align:top}
thead th{color:var(--soft);font-weight:normal;font-size:.85rem}th small{font-weight:normal;color:var(--soft)}
.failed{color:var(--bad);font-weight:600}
ul,ol{padding-left:1.2rem;margin:.3rem 0}ol{list-style:none;padding:0}
details{margin-top:1.8rem}summary{cursor:pointer;font-weight:600}
details li{font:13px/1.6 ui-monospace,monospace;border-bottom:1px solid var(--line)}time{color:var(--soft)}
footer{margin-top:2.5rem;color:var(--soft);font-size:.8rem}
@media (max-width:40rem){
main{padding:.7rem}figure{padding:.6rem .5rem}
thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
table,tbody,tr,th,td{display:block;border:0;padding:0}
tr{padding:.6rem 0;border-bottom:1px solid var(--line)}
td{display:flex;justify-content:space-between;gap:1rem;text-align:right}
td::before{content:attr(data-name);color:var(--soft);flex:none}}
@media print{:root{--paper:#fff;--ink:#000}details{display:none}}
"""
