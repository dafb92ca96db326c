// A picture with control over the same seed without it, under a slider, with the score in words: on
// Local Control and on With and Without Control.
import { app } from "../../scripts/app.js";
import { addPanel, element, urlOf } from "./panel.js";
import { t } from "./texts.js";

const NODES = ["LocalControl_LocalControl", "LocalControl_Compare"];
const HEIGHT = 340;

const STYLE = `
.local-control-comparison { display: flex; flex-direction: column; gap: 6px; width: 100%;
    height: 100%; font: 13px sans-serif; color: var(--input-text, #ddd); }
.local-control-comparison .stage { position: relative; flex: 1; min-height: 260px; }
.local-control-comparison img { position: absolute; inset: 0; width: 100%; height: 100%;
    object-fit: contain; }
.local-control-comparison .ends { display: flex; align-items: center; gap: 6px; }
.local-control-comparison input { flex: 1; min-width: 0; }
.local-control-comparison p { margin: 0; white-space: pre-line; }
`;

// The slider shows the picture without control left of its position, and with control right of it.
function draw({ words, with: controlled, without }) {
    const over = element("img", { src: urlOf(controlled), alt: t("with control") });
    const stage = element("div", { className: "stage" });
    const parts = [stage];
    if (without) {
        stage.append(element("img", { src: urlOf(without), alt: t("without control") }));
        const slider = element("input", { type: "range", min: 0, max: 100, value: 0 });
        slider.setAttribute("aria-label", t("with control to without control"));
        const move = () => { over.style.clipPath = `inset(0 0 0 ${slider.value}%)`; };
        slider.addEventListener("input", move);
        slider.addEventListener("pointerdown", (event) => event.stopPropagation());
        move();
        parts.push(element("div", { className: "ends" }, [t("with"), slider, t("without")]));
    }
    stage.append(over);
    parts.push(element("p", { textContent: words.split("\n")[0] }));
    return parts;
}

app.registerExtension({
    name: "localcontrol.comparison",
    nodeCreated(node) {
        if (!NODES.includes(node.comfyClass)) return;
        node.hideOutputImages = true;
        addPanel(node, {
            name: "comparison",
            className: "local-control-comparison",
            style: STYLE,
            key: "local_control_comparison",
            height: HEIGHT,
            draw,
        });
    },
});
