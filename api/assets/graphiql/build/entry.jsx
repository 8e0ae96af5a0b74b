// GraphiQL for one server: the one that served this page.
// Queries go by POST, subscriptions over graphql-transport-ws; what stands in the headers editor
// (`{"Authorization": "Bearer ..."}`) goes with both.
import { createGraphiQLFetcher } from '@graphiql/toolkit';
import { setNonce } from 'get-nonce';
import { GraphiQL } from 'graphiql';
import 'graphiql/style.css';
import './page.css';
import { parse } from 'graphql';
import { createRoot } from 'react-dom/client';

// The page's policy lets a style pass that carries the script's nonce.
setNonce(document.currentScript.nonce);

const url = new URL('/graphql', location.href);
const subscriptionUrl = new URL(url);
subscriptionUrl.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';

const send = createGraphiQLFetcher({
  url: url.href,
  subscriptionUrl: subscriptionUrl.href,
});

// The editor parses what is typed a moment later, so that a subscription run at once would be taken
// for what stood there before.
function fetcher(params, options) {
  let documentAST;
  try {
    documentAST = parse(params.query);
  } catch {
    // The server says what is wrong with it.
  }
  return send(params, { ...options, documentAST });
}

const welcome = `# Ctrl-Enter runs this, Ctrl-Space completes.
# The book on the left explains every field.
# With tokens: {"Authorization": "Bearer ..."} in the headers below.

{
  listings(orderBy: PRICE_ASCENDING, first: 3) {
    totalCount
    nodes {
      id
      status
      price { amountMinor currency frequency }
      bedrooms
    }
  }
}
`;

// A link may carry what to ask: /graphql?query={...}
const linked = new URLSearchParams(location.search).get('query') ?? undefined;

createRoot(document.getElementById('graphiql')).render(
  <GraphiQL fetcher={fetcher} defaultQuery={welcome} query={linked} />,
);
