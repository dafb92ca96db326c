// z0' of every step on z0' Frames: a picture, how far its edges are off, and when control could begin
// or end so that it acts up to this step or from it on.
import { app } from "../../scripts/app.js";
import { allNodes } from "./graph.js";
import { addPanel, element, urlOf } from "./panel.js";
import { mark, t, textsOf } from "./texts.js";
import { setWidget, widgetOf } from "./widgets.js";

const NODE = "LocalControl_Z0Frames";
const HEIGHT = 500;
const WHOLE_MS = 4000; // of a play through all steps
const LEAST_MS = 60;
// As the curve of the node's output.
const SIDES = { inside: "#3cb44b", outside: "#e13c3c" };
const WORDS = { inside: mark("inside {error}"), outside: mark("outside {error}") };
const SVG = "http://www.w3.org/2000/svg";

const STYLE = `
.local-control-timeline { display: flex; flex-direction: column; gap: 6px; width: 100%;
    height: 100%; font: 13px sans-serif; color: var(--input-text, #ddd); }
.local-control-timeline .stage { position: relative; flex: 1; min-height: 240px; }
.local-control-timeline canvas { position: absolute; inset: 0; width: 100%; height: 100%;
    object-fit: contain; }
.local-control-timeline svg { height: 80px; width: 100%; cursor: crosshair;
    background: var(--comfy-input-bg, #222); overflow: visible; }
.local-control-timeline .row { display: flex; align-items: center; gap: 6px; }
.local-control-timeline .row input, .local-control-timeline .row select { flex: 1; min-width: 0; }
.local-control-timeline button, .local-control-timeline select { font: inherit; color: inherit;
    background: var(--comfy-input-bg, #222); border: 1px solid var(--border-color, #555);
    border-radius: 4px; padding: 2px 8px; }
.local-control-timeline p { margin: 0; }
`;

// What of ours acts in a part of the sampling that is set on the node: regions before all.
function timedNodes() {
    const isTimed = (node) => node.comfyClass?.startsWith("LocalControl_")
        && widgetOf(node, "end_percent");
    const isRegion = (node) => node.comfyClass === "LocalControl_Region";
    return allNodes().filter(isTimed)
        .sort((a, b) => isRegion(b) - isRegion(a));
}

function svg(tag, attributes) {
    const made = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
}

// The errors of both sides over the steps, and a line at the one that is shown.
function drawChart({ steps, inside, outside }, select) {
    const last = Math.max(1, steps - 1);
    const top = Math.max(...inside, ...outside) || 1;
    const chart = svg("svg", { viewBox: `0 0 ${last} 1`, preserveAspectRatio: "none" });
    const look = { fill: "none", "vector-effect": "non-scaling-stroke", "stroke-width": 2 };
    for (const [side, stroke] of Object.entries(SIDES)) {
        const errors = { inside, outside }[side];
        const points = errors.flatMap((error, x) => (error === null ? [] : [`${x},${1 - error / top}`]));
        chart.append(svg("polyline", { ...look, stroke, points: points.join(" ") }));
    }
    const mark = svg("line", { ...look, stroke: "currentColor", y1: 0, y2: 1 });
    chart.append(mark);
    chart.addEventListener("pointerdown", (event) => {
        event.stopPropagation();
        const { left, width } = chart.getBoundingClientRect();
        select(Math.round(((event.clientX - left) / width) * last));
    });
    const markAt = (step) => {
        mark.setAttribute("x1", step);
        mark.setAttribute("x2", step);
    };
    return { chart, markAt };
}

// What the language of the interface calls an input of a region.
function nameOf(input) {
    return textsOf("LocalControl_Region")?.inputs[input]?.name ?? input;
}

// A choice of the nodes that act for a time, and buttons that set it.
function drawSetters(bounds, current) {
    const choice = element("select", { title: t("the node whose range is set") });
    const fill = () => {
        const { value } = choice;
        choice.replaceChildren(...timedNodes().map((node, i) => element("option", {
            value: `${node.graph.id}:${node.id}`, textContent: `${node.title} #${node.id}`,
        })));
        if ([...choice.options].some((option) => option.value === value)) choice.value = value;
    };
    const setter = (name, bound) => element("button", {
        textContent: t("Set {name}", { name: nameOf(name) }),
        onclick() {
            const chosen = timedNodes().find((node) => `${node.graph.id}:${node.id}` === choice.value);
            if (chosen) setWidget(chosen, name, bounds[bound()]);
        },
    });
    choice.addEventListener("focus", fill);
    fill();
    const start = setter("start_percent", current);
    const end = setter("end_percent", () => current() + 1);
    return element("div", { className: "row" }, [choice, start, end]);
}

// The step and its errors, each side in the colour of its line.
function describe({ steps, ...errors }, step) {
    const told = Object.entries(SIDES).filter(([side]) => errors[side][step] !== null)
        .map(([side, color]) => {
            const words = t(WORDS[side], { error: errors[side][step].toPrecision(3) });
            return element("span", { textContent: ` ${words}`, style: `color: ${color}` });
        });
    return [t("Step {step} of {steps}. Edge error", { step: step + 1, steps }), ...told];
}

function timing({ bounds }, step) {
    const names = { start: nameOf("start_percent"), end: nameOf("end_percent") };
    if (!bounds) {
        return t("This sampler has steps of its own, so no {start} or {end} is that of a step.", names);
    }
    const values = { ...names, first: bounds[step], last: bounds[step + 1] };
    return t("Control until this step: {end} {last}. From this step on: {start} {first}.", values);
}

function draw(shown) {
    if (shown.words) return [element("p", { textContent: shown.words })];
    const { columns, size: [width, height], steps, bounds } = shown;
    const frame = element("canvas", { width, height });
    const sheet = element("img", { src: urlOf(shown.sheet) });
    const play = element("button");
    const scrubber = element("input", { type: "range", min: 0, max: steps - 1 });
    scrubber.setAttribute("aria-label", t("step"));
    const about = element("p", { className: "step" });
    const when = element("p", { className: "when" });
    let step = steps - 1;
    let timer = null;

    const show = () => {
        const [x, y] = [step % columns, Math.floor(step / columns)];
        frame.getContext("2d").drawImage(
            sheet, x * width, y * height, width, height, 0, 0, width, height);
        scrubber.value = step;
        markAt(step);
        about.replaceChildren(...describe(shown, step));
        when.textContent = timing(shown, step);
    };
    const stop = () => {
        clearInterval(timer);
        timer = null;
        play.textContent = t("Play");
    };
    const select = (chosen) => {
        stop();
        step = Math.min(Math.max(chosen, 0), steps - 1);
        show();
    };
    const next = () => {
        if (!frame.isConnected || step + 1 >= steps) return stop();
        step += 1;
        show();
    };
    const { chart, markAt } = drawChart(shown, select);
    play.addEventListener("click", () => {
        if (timer) return stop();
        step = step + 1 < steps ? step : 0;
        show();
        play.textContent = t("Pause");
        timer = setInterval(next, Math.max(WHOLE_MS / steps, LEAST_MS));
    });
    scrubber.addEventListener("input", () => select(Number(scrubber.value)));
    sheet.addEventListener("load", show);
    stop();
    show();
    const parts = [
        element("div", { className: "stage" }, [frame]),
        chart,
        element("div", { className: "row" }, [play, scrubber]),
        about,
        when,
    ];
    if (bounds) parts.push(drawSetters(bounds, () => step));
    // The canvas would take a press for the start of a move of the node.
    for (const part of parts) {
        part.addEventListener("pointerdown", (event) => event.stopPropagation());
    }
    return parts;
}

app.registerExtension({
    name: "localcontrol.timeline",
    nodeCreated(node) {
        if (node.comfyClass !== NODE) return;
        addPanel(node, {
            name: "timeline",
            className: "local-control-timeline",
            style: STYLE,
            key: "local_control_timeline",
            height: HEIGHT,
            draw,
        });
    },
});
