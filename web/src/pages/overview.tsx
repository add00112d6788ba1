// SPDX-License-Identifier: Apache-2.0
import { Copyable, Link, Time, Title } from "../parts";
import { useSession } from "../session";

export function OverviewPage() {
  const { me, ping } = useSession();
  const command = `msh login --proxy=${location.host} --user=${me.user}`;
  return (
    <>
      <Title>Overview</Title>
      {me.factors_count === 0 && (
        <p class="note">
          Only a password protects your account. <Link to="/account/factors">Add a second factor</Link>: it
          takes a minute.
        </p>
      )}
      <section class="card">
        <h2>You</h2>
        <dl>
          <dt>User</dt>
          <dd>{me.user}</dd>
          <dt>Roles</dt>
          <dd>
            {me.roles.length === 0 && "none: ask an administrator, with no role you reach no node"}
            {me.roles.map((role) => (
              <span key={role} class="tag">
                {role}
              </span>
            ))}
          </dd>
          <dt>This session ends</dt>
          <dd>
            <Time at={me.expires_at_ms} />
          </dd>
        </dl>
      </section>
      <section class="card">
        <h2>On your machine</h2>
        <p>Log in once, then use SSH as you always do.</p>
        <Copyable text={command} label="the login command" />
        <Copyable text="msh ls" label="the command that lists nodes" />
        <Copyable text="msh ssh LOGIN@NODE" label="the command that opens a shell" />
        <p class="hint">
          If <code>msh</code> does not know this hub yet, add <code>--ca-pin={ping.host_ca_pin}</code>.
          Compare it with the pin that your administrator has given you.
        </p>
      </section>
    </>
  );
}
