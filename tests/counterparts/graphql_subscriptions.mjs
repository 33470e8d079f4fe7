// One run followed by each client and transport; then followed again after its first reply.
// Arguments: folder, url, execution's id. Waits for "go" on standard input once all have begun.
import { createRequire } from 'node:module';

const [folder, url, id] = process.argv.slice(2);
const require = createRequire(`${folder}/`);
const { ApolloClient, ApolloLink, HttpLink, InMemoryCache, gql } = require('@apollo/client');
const { GraphQLWsLink } = require('@apollo/client/link/subscriptions');
const { Client, fetchExchange, subscriptionExchange } = require('@urql/core');
const ws = require('graphql-ws');
const sse = require('graphql-sse');

const socket = url.replace(/^http/, 'ws');
const QUERY = `subscription Run($id: ID!, $after: String) {
  taskExecutionStream(id: $id, after: $after) {
    __typename cursor
    ... on ExecutionSoFar { status }
    ... on ExecutionText { offset text }
    ... on ExecutionReply { text toolCalls { tool } }
    ... on ExecutionEnd { status answer }
  }
}`;

// Each: (variables, sink) => unsubscribe, where sink has next(data), error, complete.
const sockets = () => ws.createClient({ url: socket, lazy: true, retryAttempts: 0 });
const raw = (client) => (variables, sink) =>
  client.subscribe({ query: QUERY, variables }, {
    next: ({ data, errors }) => (errors ? sink.error(errors) : sink.next(data)),
    error: sink.error,
    complete: sink.complete,
  });
const wonka = (client) => (variables, sink) => {
  const { unsubscribe } = client.subscription(QUERY, variables).subscribe((result) => {
    if (result.error) sink.error(result.error);
    else if (result.hasNext === false) sink.complete(); // its data is the last event's, once more
    else sink.next(result.data);
  });
  return unsubscribe;
};

function clients() {
  const overSocket = sockets();
  const apolloSocket = sockets();
  const urqlSocket = sockets();
  const apollo = new ApolloClient({
    link: ApolloLink.split(
      ({ operationType }) => operationType === 'subscription',
      new GraphQLWsLink(apolloSocket),
      new HttpLink({ uri: url }),
    ),
    cache: new InMemoryCache(),
  });
  return {
    'graphql-ws': raw(overSocket),
    'graphql-sse': raw(sse.createClient({ url, retryAttempts: 0 })),
    'apollo over graphql-ws': (variables, sink) => {
      const held = apollo.subscribe({ query: gql(QUERY), variables }).subscribe({
        next: ({ data, error }) => (error ? sink.error(error) : sink.next(data)),
        error: sink.error,
        complete: sink.complete,
      });
      return () => held.unsubscribe();
    },
    'urql over graphql-ws': wonka(new Client({
      url,
      preferGetMethod: false,
      exchanges: [
        fetchExchange,
        subscriptionExchange({
          forwardSubscription: (request) => ({
            subscribe: (sink) => ({
              unsubscribe: urqlSocket.subscribe(
                { query: request.query, variables: request.variables }, sink),
            }),
          }),
        }),
      ],
    })),
    'urql over events': wonka(new Client({
      url,
      preferGetMethod: false,
      fetchSubscriptions: true,
      exchanges: [fetchExchange],
    })),
  };
}

const begun = [];
function follow(subscribe, after) {
  const events = [];
  let first;
  begun.push(new Promise((resolve) => { first = resolve; }));
  return new Promise((resolve, reject) => {
    subscribe({ id, after }, {
      next: (data) => { events.push(data.taskExecutionStream); first(); },
      error: (error) => reject(new Error(error.message ?? JSON.stringify(error))),
      complete: () => resolve(events),
    });
  });
}

const all = clients();
const whole = Object.entries(all).map(([name, one]) => follow(one, null).then((events) => [name, events]));
await Promise.all(begun);
console.log('begun');
const told = Object.fromEntries(await Promise.all(whole));

const again = {};
for (const [name, one] of Object.entries(all)) {
  const reply = told[name].find((event) => event.__typename === 'ExecutionReply');
  again[name] = await follow(one, reply.cursor);
}
const refused = await follow(all['graphql-ws'], 'nonsense').then(() => null, (error) => error.message);
console.log(JSON.stringify({ told, again, refused }));
process.exit(0);
