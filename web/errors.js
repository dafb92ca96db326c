// What went wrong, in the sentence that the pack has for it: newer frontends hide it behind "View
// details" of a message that says nothing.
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { nodeOf } from "./graph.js";
import { t } from "./texts.js";

// The name of the pack's folder, as tracebacks have it: /extensions/NAME/errors.js
const FOLDER = new URL(import.meta.url).pathname.split("/").at(-2);
const LIFE_MS = 20000;

const isOurs = ({ node_type: type }) => type?.startsWith("LocalControl_");

// What other nodes run of ours, as samplers do, and which has raised the error itself.
function isRaisedByUs({ traceback }) {
    const at = (traceback ?? []).at(-1)?.replaceAll("\\", "/");
    return at?.includes(`custom_nodes/${FOLDER}/`);
}

app.registerExtension({
    name: "localcontrol.errors",
    setup() {
        api.addEventListener("execution_error", ({ detail }) => {
            if (!isOurs(detail) && !isRaisedByUs(detail)) return;
            const title = isOurs(detail) && nodeOf(detail.node_id)?.title;
            app.extensionManager.toast.add({
                severity: "error",
                summary: title || t("Local Control"),
                detail: detail.exception_message,
                life: LIFE_MS,
            });
        });
    },
});
