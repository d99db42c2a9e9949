// What an entry of the package knows of where it runs.

export const platform = {
  /** Gives the module of durable couriers, in any form that `compile` takes. */
  spoolModule: undefined,
  /** Opens a path as the place of a spool. */
  openDirectory: undefined,
};
