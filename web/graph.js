// Nodes of the graph that is open, also those in subgraphs.
import { app } from "../../scripts/app.js";

// The node behind an id of the server's, which has the ids of the subgraphs in front that it is in.
export function nodeOf(id) {
    const ids = String(id).split(":");
    const inner = ids.pop();
    const graph = ids.reduce((outer, at) => outer?.getNodeById(at)?.subgraph, app.graph);
    return graph?.getNodeById(inner);
}

function nodesIn(graph) {
    return graph.nodes.flatMap((node) => (node.subgraph ? nodesIn(node.subgraph) : [node]));
}

export function allNodes() {
    return nodesIn(app.graph.rootGraph ?? app.graph);
}
