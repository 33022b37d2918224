//! Tables for R: a list of columns, each made with its name beside what it holds of a row.

use crate::rapi::{Failure, Scope, Sexp};

/// R's missing integer.
const NA_INTEGER: i32 = i32::MIN;

/// The columns made so far of a table with a row for each of `rows`.
pub(crate) struct Table<'r, 't, T> {
    scope: &'r Scope,
    rows: &'t [T],
    names: Vec<&'static str>,
    columns: Vec<Sexp<'r>>,
}

impl<'r, 't, T> Table<'r, 't, T> {
    pub(crate) fn new(scope: &'r Scope, rows: &'t [T]) -> Self {
        Self {
            scope,
            rows,
            names: Vec::new(),
            columns: Vec::new(),
        }
    }

    /// A column of whole numbers: `NA` for none, and for what is too large for R.
    pub(crate) fn integers<N: Into<u64>>(
        self,
        name: &'static str,
        value: impl Fn(&T) -> Option<N>,
    ) -> Result<Self, Failure> {
        let integer = |row| value(row).and_then(|number| i32::try_from(number.into()).ok());
        let values: Vec<i32> = self
            .rows
            .iter()
            .map(|row| integer(row).unwrap_or(NA_INTEGER))
            .collect();
        let column = self.scope.integers(&values)?;
        Ok(self.with(name, column))
    }

    /// A column of numbers: `NA` for none.
    pub(crate) fn doubles(
        self,
        name: &'static str,
        value: impl Fn(&T) -> Option<f64>,
    ) -> Result<Self, Failure> {
        let missing = self.scope.na_real();
        let values: Vec<f64> = self
            .rows
            .iter()
            .map(|row| value(row).unwrap_or(missing))
            .collect();
        let column = self.scope.doubles(&values)?;
        Ok(self.with(name, column))
    }

    /// A column of `TRUE` and `FALSE`.
    pub(crate) fn logicals(
        self,
        name: &'static str,
        value: impl Fn(&T) -> bool,
    ) -> Result<Self, Failure> {
        let values: Vec<bool> = self.rows.iter().map(value).collect();
        let column = self.scope.logicals(&values)?;
        Ok(self.with(name, column))
    }

    /// A column of texts: `NA` for none.
    pub(crate) fn texts<S: AsRef<str>>(
        self,
        name: &'static str,
        value: impl Fn(&'t T) -> Option<S>,
    ) -> Result<Self, Failure> {
        let texts: Vec<Option<S>> = self.rows.iter().map(value).collect();
        let texts: Vec<Option<&str>> = texts
            .iter()
            .map(|text| text.as_ref().map(AsRef::as_ref))
            .collect();
        let column = self.scope.optional_strings(&texts)?;
        Ok(self.with(name, column))
    }

    /// The named list of all columns.
    pub(crate) fn list(self) -> Result<Sexp<'r>, Failure> {
        Ok(self.scope.named_list(&self.names, &self.columns)?)
    }

    fn with(mut self, name: &'static str, column: Sexp<'r>) -> Self {
        self.names.push(name);
        self.columns.push(column);
        self
    }
}
