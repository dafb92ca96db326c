// Level weights as a slider each, and the strength curve as a curve where the frontend can draw one.
// Workflows keep the texts alone; a text that these cannot show is shown itself.
import { app } from "../../scripts/app.js";
import { allNodes } from "./graph.js";
import { curveOf, factorsOf, numbersOf, textOf } from "./curves.js";
import { mark, t } from "./texts.js";
import { afterChange, afterLoading, hide, isLinked, widgetOf } from "./widgets.js";

const LEVELS = [
    mark("finest level"), mark("fine level"), mark("coarse level"), mark("coarsest level"),
];
const MOST = 2; // of a slider
const CURVE = mark("strength over time");
const SAVED = "strength_curve"; // the property that keeps the points of a rounded curve

function lieIn(numbers, most) {
    return numbers?.every((number) => number >= 0 && number <= most) ?? false;
}

// A widget for people only: never saved, and advanced where the text is.
function addFor(text, node, type, name, ...options) {
    const widget = node.addWidget(type, name, ...options);
    widget.label = t(name);
    widget.serialize = false;
    widget.options.serialize = false;
    widget.advanced = text.advanced;
    widget.options.advanced = text.options.advanced;
    widget.tooltip = text.tooltip;
    return widget;
}

function addSliders(node, text) {
    const options = { min: 0, max: MOST, step: 0.5, step2: 0.05, precision: 2 };
    const write = () => { text.value = textOf(sliders.map(({ value }) => value)); };
    const sliders = LEVELS.map((name) => addFor(text, node, "slider", name, 1, write, options));
    return () => {
        const weights = numbersOf(text.value);
        const fits = weights?.length === LEVELS.length && lieIn(weights, MOST)
            && !isLinked(node, text.name);
        if (fits) sliders.forEach((slider, i) => { slider.value = weights[i]; });
        for (const slider of sliders) hide(slider, !fits);
        hide(text, fits);
    };
}

function addCurve(node, text) {
    const write = (curve) => {
        node.properties[SAVED] = curve;
        text.value = textOf(factorsOf(curve));
    };
    const curve = addFor(text, node, "curve", CURVE, curveOf([1]), write, {});
    return () => {
        const factors = numbersOf(text.value);
        const saved = node.properties[SAVED];
        // Classic nodes have no place for it but a notice.
        const fits = window.LiteGraph.vueNodesMode && lieIn(factors, 1) && !isLinked(node, text.name);
        if (fits) {
            const isSaved = saved && textOf(factorsOf(saved)) === textOf(factors);
            curve.value = isSaved ? saved : curveOf(factors);
        }
        hide(curve, !fits);
        hide(text, fits);
    };
}

const refreshers = new WeakMap();

app.registerExtension({
    name: "localcontrol.region_widgets",
    setup() {
        app.ui.settings.addEventListener("Comfy.VueNodes.Enabled.change", () => {
            setTimeout(() => allNodes().forEach((node) => refreshers.get(node)?.()));
        });
    },
    nodeCreated(node) {
        if (node.comfyClass !== "LocalControl_Region") return;
        const weights = widgetOf(node, "level_weights");
        const curve = widgetOf(node, "strength_curve");
        const parts = [[weights, addSliders(node, weights)]];
        if (app.widgets?.CURVE) parts.push([curve, addCurve(node, curve)]);
        const refresh = () => {
            for (const [, show] of parts) show();
            node.graph?.setDirtyCanvas(true, true);
        };
        for (const [text] of parts) afterChange(text, refresh);
        afterLoading(node, refresh);
        refreshers.set(node, refresh);
        refresh();
    },
});
