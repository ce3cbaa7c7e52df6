import type { Config } from "../api/types";
import { PageBody, PageHead } from "../ui/head";
import { Card, Command, Loading, Trouble } from "../ui/parts";
import { useConfig } from "./data";
import { type Group, groups } from "./shown";

/** How the API is set, to read. Settings are variables of its process, so no page changes them. */
export function SettingsPage() {
  const config = useConfig();
  return (
    <PageBody>
      <PageHead title="Settings" aside={config.data && <span className="text-quiet">Rollcall {config.data.version}</span>} />
      {config.isPending && <Loading what="the settings" />}
      {config.error && <Trouble error={config.error} what="the settings" />}
      {config.data && (
        <>
          <Links links={config.data.links} />
          <div className="grid gap-3 lg:grid-cols-2">
            {groups(config.data).map((group) => (
              <Settings key={group.title} group={group} />
            ))}
          </div>
          <p className="text-quiet">These are the settings of the API. Each is a variable of its environment, and holds after a restart; the dispatcher, the verifier and the workers have their own.</p>
        </>
      )}
    </PageBody>
  );
}

function Settings({ group: { title, rows } }: { group: Group }) {
  return (
    <Card title={title}>
      <dl className="divide-y divide-line">
        {rows.map(({ name, setting, value }) => (
          <div key={setting} className="flex flex-wrap items-baseline justify-between gap-x-3 py-1">
            <dt>
              {name} <code className="font-mono text-xs break-all text-quiet">{setting}</code>
            </dt>
            <dd className="font-medium break-all">{value}</dd>
          </div>
        ))}
      </dl>
    </Card>
  );
}

function Links({ links }: { links: Config["links"] }) {
  return (
    <Card title="Look further">
      <ul className="flex flex-wrap gap-x-4 gap-y-1">
        <li>
          <a href="/docs" className="text-accent underline">
            The API&rsquo;s description
          </a>
        </li>
        {links.grafana_url && (
          <li>
            <a href={links.grafana_url} rel="noreferrer" className="text-accent underline">
              Dashboards in Grafana
            </a>
          </li>
        )}
        {links.trace_url && <li className="text-quiet">A session&rsquo;s trace is linked on its page.</li>}
      </ul>
      {!links.grafana_url && (
        <div className="mt-2 max-w-xl space-y-1 text-quiet">
          <p>With this setting, a link leads to your dashboards:</p>
          <Command>GRAFANA_URL=https://grafana.example.com</Command>
        </div>
      )}
    </Card>
  );
}
