// SPDX-License-Identifier: Apache-2.0
// The few parts that all pages are made of.

import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { navigate, type Path } from "./router";

interface InputProps {
  type?: "text" | "password";
  class?: string;
  autocomplete?: string;
  autocapitalize?: "off";
  spellcheck?: boolean;
  inputMode?: "numeric";
  placeholder?: string;
  minLength?: number;
  maxLength?: number;
  required?: boolean;
  autofocus?: boolean;
}

interface FieldProps extends InputProps {
  label: string;
  value: string;
  onValue: (value: string) => void;
  hint?: ComponentChildren;
}

export function Field({ label, value, onValue, hint, ...input }: FieldProps) {
  const id = useId();
  const element = useRef<HTMLInputElement>(null);
  const first = input.autofocus === true;
  // Browsers obey the attribute in a document that is being loaded only.
  useEffect(() => {
    if (first) element.current?.focus();
  }, [first]);
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <input
        {...(input as object)}
        ref={element}
        id={id}
        value={value}
        aria-describedby={hint ? `${id}-hint` : undefined}
        onInput={(event) => onValue(event.currentTarget.value)}
      />
      {hint && (
        <p id={`${id}-hint`} class="hint">
          {hint}
        </p>
      )}
    </div>
  );
}

export function PasswordField({ label, ...field }: FieldProps) {
  const [shown, setShown] = useState(false);
  return (
    <div class="password">
      <Field
        {...field}
        label={label}
        type={shown ? "text" : "password"}
        spellcheck={false}
        autocapitalize="off"
      />
      <button
        type="button"
        class="peek"
        aria-pressed={shown}
        aria-label={`Show: ${label}`}
        onClick={() => setShown(!shown)}
      >
        {shown ? "Hide" : "Show"}
      </button>
    </div>
  );
}

/** Six digits from an authenticator app. */
export function CodeField({ value, onValue, ...input }: Pick<FieldProps, "value" | "onValue"> & InputProps) {
  return (
    <Field
      label="Code from your authenticator app"
      value={value}
      onValue={(text) => onValue(text.replace(/[^0-9]/g, "").slice(0, 6))}
      class="code"
      inputMode="numeric"
      autocomplete="one-time-code"
      placeholder="000000"
      required
      minLength={6}
      {...input}
    />
  );
}

interface FormProps {
  /** What the button says. */
  action: string;
  onSubmit: () => Promise<void>;
  children?: ComponentChildren;
  /** Stands beside the button. */
  aside?: ComponentChildren;
  danger?: boolean;
}

/** A form that is busy while `onSubmit` runs, and says what went wrong. */
export function Form({ action, onSubmit, children, aside, danger = false }: FormProps) {
  const { busy, error, run } = useAction();
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        void run(onSubmit);
      }}
    >
      {children}
      <Failure error={error} />
      <div class="actions">
        <button type="submit" class={danger ? "danger" : "primary"} disabled={busy} aria-busy={busy}>
          {action}
        </button>
        {aside}
      </div>
    </form>
  );
}

/** Something that takes a moment and may fail. */
export function useAction() {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState("");
  const run = async (action: () => Promise<void>): Promise<void> => {
    setBusy(true);
    setError("");
    try {
      await action();
    } catch (caught) {
      setError(caught instanceof Error ? caught.message : String(caught));
    } finally {
      setBusy(false);
    }
  };
  return { busy, error, run, setError };
}

/** Announced by screen readers as soon as there is one. */
export function Failure({ error }: { error: string }) {
  return (
    <p role="alert" class="failure" hidden={!error}>
      {error}
    </p>
  );
}

export function Note({ children }: { children: ComponentChildren }) {
  return (
    <p role="status" class="note">
      {children}
    </p>
  );
}

interface TitleProps {
  children: string;
  /** Only what a person has come to takes the focus, not what is there at first. */
  focus?: boolean;
}

/** The heading of a page. It names the tab and takes the focus, so that screen readers say where one is now. */
export function Title({ children, focus = true }: TitleProps) {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    document.title = `${children} · mezite`;
    if (focus) heading.current?.focus({ preventScroll: true });
  }, [children, focus]);
  return (
    <h1 ref={heading} tabIndex={-1}>
      {children}
    </h1>
  );
}

interface LinkProps {
  to: Path;
  current?: boolean;
  class?: string;
  children: ComponentChildren;
}

export function Link({ to, current = false, children, ...rest }: LinkProps) {
  return (
    <a
      {...rest}
      href={to}
      aria-current={current ? "page" : undefined}
      onClick={(event) => {
        if (event.metaKey || event.ctrlKey || event.shiftKey || event.button !== 0) return;
        event.preventDefault();
        navigate(to);
      }}
    >
      {children}
    </a>
  );
}

/** Text to take along: a secret, a command. */
export function Copyable({ text, label }: { text: string; label: string }) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    setCopied(true);
  };
  return (
    <div class="copyable">
      <code>{text}</code>
      <button type="button" aria-label={`Copy ${label}`} onClick={() => void copy()}>
        {copied ? "Copied" : "Copy"}
      </button>
      <span role="status" class="unseen">
        {copied ? `${label} copied` : ""}
      </span>
    </div>
  );
}

export function Mark() {
  return (
    <svg viewBox="0 0 32 32" class="mark" aria-hidden="true">
      <title>mezite</title>
      <rect width="32" height="32" rx="7" />
      <path d="M7 24V15a9 9 0 0 1 18 0v9M12.5 24v-9a3.5 3.5 0 0 1 7 0v9" />
    </svg>
  );
}

/** The frame of pages that somebody sees who is not logged in. */
export function Door({ cluster, children }: { cluster: string; children: ComponentChildren }) {
  return (
    <main class="door">
      <div class="brand">
        <Mark />
        <span>mezite</span>
        {cluster && <span class="cluster">{cluster}</span>}
      </div>
      <section class="card">{children}</section>
    </main>
  );
}

const TIME = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

export function Time({ at }: { at: number }) {
  const date = new Date(at);
  return <time dateTime={date.toISOString()}>{TIME.format(date)}</time>;
}
