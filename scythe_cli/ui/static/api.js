// What the server is asked; addresses are relative to the page, whose own has the token in it.

export class Problem extends Error {
  constructor(told, status) {
    super(told.error ?? "the server cannot be reached");
    this.hint = told.hint ?? (status ? null : "Is `scythe ui` still running?");
  }
}

async function asked(address, options) {
  let response;
  try {
    response = await fetch(address, { credentials: "omit", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({}, 0);
  }
  const told = await response.json().catch(() => ({ error: `the server answered with ${response.status}` }));
  if (!response.ok) throw new Problem(told, response.status);
  return told;
}

export function get(name, parameters = {}, options = {}) {
  const known = Object.entries(parameters).filter(([, value]) => value !== null && value !== undefined);
  return asked(`api/${name}?${new URLSearchParams(known)}`, options);
}

export function post(name, value) {
  return asked(`api/${name}`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(value) });
}
