// report_page.js: appended to a copy of a report by test/report.sh. Uses the page as a reader does and leaves lines
// "ok NAME" or "not ok NAME" in <pre id="outcome">.
"use strict";
const outcome = document.body.appendChild(document.createElement("pre"));
outcome.id = "outcome";

const drawAll = () => charts.forEach((chart) => chart.draw()); // now, not at the next frame
const paths = (chart) => [...chart.svg.querySelectorAll("g[clip-path] path[stroke]")].map((path) => path.getAttribute("d")).join("\n");
const labelled = (text, root) => [...(root || document).querySelectorAll("button, option")].find((node) => node.textContent.trim() === text);
const texts = (chart) => chart.svg.textContent;
const bounds = (chart) => chart.svg.getBoundingClientRect();
function point(chart, type, x, y, more) {
  const frame = bounds(chart), {box} = chart;
  chart.svg.dispatchEvent(new (type === "wheel" ? WheelEvent : PointerEvent)(type, {
    bubbles: true, cancelable: true, button: 0, pointerId: 1,
    clientX: frame.left + box.left + x * (box.right - box.left), clientY: frame.top + box.top + y * (box.bottom - box.top), ...more}));
}
const key = (chart, name) => chart.svg.dispatchEvent(new KeyboardEvent("keydown", {key: name, bubbles: true, cancelable: true}));
const tip = document.getElementById("tip");
const chartNamed = (name) => charts.find((chart) => chart.options.name === name);

const tests = {
  nothing_should_be_wrong_when_drawing() {
    return document.getElementById("problem").hidden && charts.length > 3;
  },
  no_coordinate_should_be_undefined() {
    return charts.every((chart) => !/NaN|undefined|Infinity/.test(chart.svg.outerHTML));
  },
  hovering_should_read_all_curves() {
    const chart = chartNamed("validation loss");
    point(chart, "pointermove", 0.999, 0.5);
    return !tip.hidden && methods.every((m) => tip.textContent.includes(m.name)) && tip.textContent.includes(methods[0].loss.mean.toFixed(2).slice(0, 3));
  },
  leaving_should_hide_what_was_read() {
    point(chartNamed("validation loss"), "pointerleave", 0, 0);
    return tip.hidden;
  },
  dragging_should_zoom_all_charts_and_double_click_reset() {
    const chart = chartNamed("validation loss"), other = chartNamed("training loss"), before = paths(chart), others = paths(other);
    point(chart, "pointerdown", 0.4, 0.5);
    point(chart, "pointermove", 0.6, 0.5);
    point(chart, "pointerup", 0.6, 0.5);
    drawAll();
    const [x0, x1] = state.range, last = chart.full[1];
    const zoomed = paths(chart) !== before && paths(other) !== others && Math.abs(x0 / last - 0.4) < 0.02 && Math.abs(x1 / last - 0.6) < 0.02;
    point(chart, "dblclick", 0.5, 0.5);
    drawAll();
    return zoomed && state.range === null && paths(chart) === before && paths(other) === others;
  },
  a_tall_drag_should_zoom_both_ways() {
    const chart = chartNamed("validation loss");
    point(chart, "pointerdown", 0.4, 0.2);
    point(chart, "pointermove", 0.6, 0.7);
    point(chart, "pointerup", 0.6, 0.7);
    drawAll();
    const both = chart.span !== null && chart.span[0] < chart.span[1];
    key(chart, "0");
    drawAll();
    return both && chart.span === null;
  },
  the_wheel_should_zoom_with_control_only() {
    const chart = chartNamed("validation loss");
    document.activeElement.blur();
    point(chart, "wheel", 0.5, 0.5, {deltaY: -100});
    const still = state.range === null;
    point(chart, "wheel", 0.5, 0.5, {deltaY: -100, ctrlKey: true});
    const moved = state.range !== null;
    chart.reset();
    drawAll();
    return still && moved;
  },
  keys_should_read_and_zoom() {
    const chart = chartNamed("validation loss");
    key(chart, "ArrowRight");
    const heard = document.getElementById("heard").textContent;
    key(chart, "+");
    const zoomed = state.range !== null;
    key(chart, "0");
    drawAll();
    return heard.includes(methods[0].name) && zoomed && state.range === null;
  },
  the_legend_should_hide_and_show() {
    const chart = chartNamed("validation loss"), button = document.querySelectorAll(".legend button")[1], before = paths(chart);
    button.click();
    drawAll();
    const hidden = paths(chart).length < before.length && button.getAttribute("aria-pressed") === "false";
    button.click();
    drawAll();
    return hidden && paths(chart) === before;
  },
  axes_should_follow_the_reader() {
    const chart = chartNamed("validation loss"), seen = {};
    for (const name of ["tokens", "time", "FLOPs", "steps"]) {
      labelled(name).click();
      drawAll();
      seen[name] = texts(chart).includes(name) && !/NaN/.test(paths(chart)) && chart.full[1];
    }
    return seen.steps > 0 && seen.tokens === seen.steps * 64 && Math.abs(seen.time - seen.steps / 4) < 1e-6 && seen.FLOPs === seen.tokens * 1000;
  },
  units_should_be_said_once() {
    const chart = chartNamed("validation loss"), heard = document.getElementById("heard"), said = [];
    labelled("time").click();
    drawAll();
    for (const each of [chart, chartNamed("final validation loss by lr")]) {
      key(each, "End");
      said.push(tip.firstChild.textContent, heard.textContent.split(":")[0]);
      key(each, "Escape");
    }
    labelled("steps").click();
    drawAll();
    return said.join() === "10 s,10 s,1.25,1.25";
  },
  counts_should_round_to_the_nearest_unit() {
    return countText(999600) === "999.6k" && countText(999960) === "1M" && countText(1234567) === "1.235M";
  },
  log_axes_should_bend_the_curves() {
    const chart = chartNamed("training loss"), before = paths(chart);
    for (const box of document.querySelectorAll(".controls input[type=checkbox]")) box.click();
    drawAll();
    const bent = paths(chart) !== before && !/NaN/.test(chart.svg.outerHTML) && state.logX && state.logY;
    for (const box of document.querySelectorAll(".controls input[type=checkbox]")) box.click();
    drawAll();
    return bent && paths(chart) === before;
  },
  smoothing_should_change_training_losses_only() {
    const slider = document.querySelector("input[type=range]"), train = chartNamed("training loss"), val = chartNamed("validation loss");
    const before = [paths(train), paths(val)];
    slider.value = 8;
    slider.dispatchEvent(new Event("input"));
    drawAll();
    return paths(train) !== before[0] && paths(val) === before[1];
  },
  smoothing_should_keep_straight_lines_and_average_the_rest() { // the best line through 0 0 3 ends at 2.5
    const line = [...Array(40)].map((x, i) => 3 * i), wave = smoothed([0, 3, 0, 3], 1);
    return smoothed(line, 7).every((y, i) => Math.abs(y - line[i]) < 1e-9) && wave[1] === 1 && wave[2] === 2
      && Math.abs(smoothed([0, 3, 0], 2)[0] - 1) < 1e-9 && Math.abs(smoothed([0, 0, 3], 2)[2] - 2.5) < 1e-9;
  },
  differences_should_follow_the_baseline() {
    const select = document.getElementById("baseline"), chart = chartNamed("validation loss minus the baseline’s");
    const last = (method) => { const line = chart.options.lines().find((l) => l.method === method); return line && line.y[line.y.length - 1]; };
    select.value = "0";
    select.dispatchEvent(new Event("change"));
    const ahead = last(1);
    select.value = "1";
    select.dispatchEvent(new Event("change"));
    return ahead > 0 && last(0) === -ahead && last(1) === undefined;
  },
  only_finished_runs_should_say_where_steps_are() {
    const ends = () => [differencesOf("val/loss"), linesOf("val/loss", false)].map((lines) => lines.find((l) => l.method === 0).x.at(-1));
    const first = runsOf(0)[0], double = first.clock.tokens.map((tokens) => 2 * tokens);
    labelled("tokens").click();
    const before = ends();
    runs.push({...first, outcome: "diverged", clock: {...first.clock, tokens: double}});
    const after = ends();
    runs.pop();
    labelled("steps").click();
    drawAll();
    return before.join() === "2560,2560" && after.join() === before.join();
  },
  runs_beside_means_should_tell_their_seeds() {
    const chart = chartNamed("validation loss"), m = methods[0], {figures} = m;
    m.figures = {};
    chart.draw();
    key(chart, "End");
    const said = [tip.textContent, document.getElementById("heard").textContent];
    m.figures = figures;
    chart.leave();
    drawAll();
    return state.view === "means" && said.every((text) => [1, 2, 3].every((seed) => text.includes(`${m.name} seed ${seed}`))
      && !text.includes(`${methods[1].name} seed`));
  },
  tuning_charts_should_not_invent_losses() { // of soft 0.001 has 3.5, 0.01 3.1, 0.1 3.4; 1 diverged
    const chart = chartNamed("final validation loss by lr"), soft = (x) => (chart.read(x).find((row) => row.line.method === 0) || {}).y;
    return chart.logX && soft(0.1) === 3.4 && soft(0.5) === undefined && soft(1) === undefined
      && Math.abs(soft(10 ** -1.5) - (soft(0.01) + soft(0.1)) / 2) < 1e-9;
  },
  zooming_should_show_what_was_off_the_chart() {
    const lines = [4, 5, 99].map((y, method) => ({method: 0, name: "line", x: [0, 1, 2, 3], y: [y + 1, y, y, y]}));
    const chart = new Chart({name: "three lines", steep: true, text: lossText, x: {name: "x", text: countText}, lines: () => lines});
    charts.pop();
    chart.draw();
    const hidden = chart.see.y1 < 10 && !chart.hint.hidden;
    chart.show([1, 2]);
    const shown = chart.see.y1 >= 99 && chart.hint.hidden;
    lines.pop();
    chart.reset();
    return hidden && shown && chart.see.y1 >= 6; // x is no step: its first fifth is as good as the rest
  },
  the_lead_should_name_what_it_compares() {
    const pair = data.pairs.find(({a}) => a === 0), {verdict} = pair, {pair_tests} = data;
    pair.verdict = "not distinguishable";
    const alone = lead().textContent;
    data.pair_tests = 3;
    const among = lead().textContent;
    Object.assign(data, {pair_tests});
    Object.assign(pair, {verdict});
    return !alone.includes("not distinguishable")
      && among.includes(`In the stricter comparison of all 3 pairs, it is not distinguishable from ${methods[pair.b].name}.`);
  },
  every_run_should_have_a_line() {
    labelled("every run").click();
    const lines = chartNamed("validation loss").options.lines();
    labelled("means ± s.e.").click();
    drawAll();
    return lines.length === runs.length && chartNamed("validation loss").options.lines().length === methods.length;
  },
  tensors_should_have_panels_and_spectra() {
    const option = labelled("h.0.weight", document.getElementById("diagnostics"));
    option.parentNode.value = "h.0.weight";
    option.parentNode.dispatchEvent(new Event("change"));
    drawAll();
    const panel = chartNamed("noise density φ of the gradient"), gone = chartNamed("gradient norm, before clipping");
    return panel.lines[0].y[0] === 0.25 && gone.node.hidden && chartNamed("before the map").lines[0].y.join() === "0.001,0.1,1"
      && chartNamed("after the map").lines[0].y.join() === "0.5,0.9,1";
  },
  a_tensors_steps_should_be_those_of_the_run_that_was_diagnosed() {
    const [run] = runs, {tensor} = state, place = () => panelLines("noise_phi").map((line) => line.x.at(-1)).join();
    state.tensor = "h.0.weight";
    labelled("tokens").click();
    const before = place();
    runs.unshift({...run, dir: "another", clock: {...run.clock, tokens: run.clock.tokens.map((tokens) => 2 * tokens)}});
    const after = place();
    runs.shift();
    state.tensor = tensor;
    labelled("steps").click();
    drawAll();
    return before === "2560,2560" && after === before;
  },
  the_theme_should_switch() {
    const root = document.documentElement, before = [root.dataset.theme, getComputedStyle(document.body).backgroundColor];
    labelled("light / dark").click();
    return root.dataset.theme !== before[0] && getComputedStyle(document.body).backgroundColor !== before[1];
  },
  a_saved_chart_should_stand_alone() {
    const text = chartNamed("validation loss").text(), tree = new DOMParser().parseFromString(text, "image/svg+xml");
    return !text.includes("var(") && !tree.querySelector("parsererror") && tree.querySelectorAll("path").length > 0;
  },
  nothing_should_be_wider_than_the_page() {
    return document.documentElement.scrollWidth <= innerWidth;
  },
  every_control_should_have_a_name() {
    return [...document.querySelectorAll("button, select, input, svg[tabindex]")].every((node) =>
      node.textContent.trim() || node.getAttribute("aria-label") || node.closest("label"));
  },
  hostile_text_should_be_text() {
    return document.querySelectorAll("script").length === 3 && !document.querySelector("main img, main script, main b b")
      && document.body.textContent.includes("<img src=x onerror=alert(1)>");
  },
};

for (const [name, test] of Object.entries(tests)) {
  let passed = false, why = "";
  try { passed = test(); } catch (error) { why = ` (${error.message})`; }
  outcome.append(`${passed ? "ok" : "not ok"} ${name}${why}\n`);
}
