// GraphiQL for one server: the one that served this page.
// Queries go by POST, subscriptions over graphql-transport-ws; what stands in the headers editor
// (`{"Authorization": "Bearer ..."}`) goes with both.
import { createGraphiQLFetcher } from '@graphiql/toolkit';
import { GraphiQL } from 'graphiql';
import 'graphiql/style.css';
import { parse } from 'graphql';
import { createRoot } from 'react-dom/client';

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

const welcome = `# Freehold. Write a query and press Ctrl-Enter; Ctrl-Space completes.
# The documentation of every field is behind the book on the left.

{
  __typename
}
`;

createRoot(document.getElementById('graphiql')).render(
  <GraphiQL fetcher={fetcher} defaultQuery={welcome} />,
);
