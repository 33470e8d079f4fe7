// One query, one mutation, one refusal, by each of two clients; prints what they were told.
import { createRequire } from 'node:module';

const [folder, url] = process.argv.slice(2);
const require = createRequire(`${folder}/`);
const { ApolloClient, CombinedGraphQLErrors, HttpLink, InMemoryCache, gql } =
  require('@apollo/client');
const { Client, fetchExchange } = require('@urql/core');

const QUERY = 'query Named($id: ID!) { agent(id: $id) { id name role createdAt } }';
const MUTATION = 'mutation Make($input: AgentInput!) { agentCreate(input: $input) { id role } }';
const agent = (id) => ({ id, name: 'Of a client', role: 'QA', prompt: 'You test.' });

async function apollo() {
  const client = new ApolloClient({
    link: new HttpLink({ uri: url }),
    cache: new InMemoryCache(),
  });
  const make = (id) => client.mutate({ mutation: gql(MUTATION), variables: { input: agent(id) } });
  const made = (await make('by_apollo')).data;
  const read = (await client.query({ query: gql(QUERY), variables: { id: 'by_apollo' } })).data;
  const refused = await make('by_apollo').then(
    () => null,
    (error) => CombinedGraphQLErrors.is(error) && error.errors[0].extensions.code,
  );
  return { made, read, refused };
}

async function urql() {
  const client = new Client({ url, exchanges: [fetchExchange], preferGetMethod: false });
  const make = (id) => client.mutation(MUTATION, { input: agent(id) }).toPromise();
  const made = (await make('by_urql')).data;
  const read = (await client.query(QUERY, { id: 'by_urql' }).toPromise()).data;
  const byGet = { preferGetMethod: 'force' };
  const got = (await client.query(QUERY, { id: 'by_urql' }, byGet).toPromise()).data;
  const again = await make('by_urql');
  return { made, read, got, refused: again.error.graphQLErrors[0].extensions.code };
}

console.log(JSON.stringify({ apollo: await apollo(), urql: await urql() }));
