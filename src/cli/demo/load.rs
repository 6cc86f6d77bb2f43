//! Loads the shop through Weir. A run that was cut short is taken up where it stopped.

use std::collections::BTreeSet;

use tokio_postgres::{Client, SimpleQueryMessage};

use super::front::{Address, connect, error_text};
use super::servers::SHOP;
use super::shop::{self, CustomerRows};
use super::{failure, progress};
use crate::types::{Error, Result};

/// Connections that load at the same time.
const CONNECTIONS: usize = 8;
/// Customers between two lines of progress.
const REPORT_EVERY: usize = 500;

/// Makes the shop's tables and rows as far as they are missing.
pub async fn load(weir: &Address) -> Result<()> {
    let client = connect(weir, SHOP).await.map_err(unloaded)?;
    for table in shop::SCHEMA {
        execute(&client, table).await?;
    }
    if numbers(&client, "SELECT count(*) FROM products").await? != [shop::PRODUCTS] {
        execute(&client, &shop::products()).await?;
    }
    let present: BTreeSet<i64> = numbers(&client, "SELECT customer_id FROM customers").await?.into_iter().collect();
    let missing: Vec<i64> = (1..=shop::CUSTOMERS).filter(|customer| !present.contains(customer)).collect();
    if missing.is_empty() {
        progress("the shop is loaded");
        return Ok(());
    }
    progress(&format!("loading the shop through Weir: {} customers with their orders", missing.len()));
    load_customers(weir, &missing).await
}

/// Spreads the customers over several connections.
async fn load_customers(weir: &Address, customers: &[i64]) -> Result<()> {
    let (report, mut loaded) = tokio::sync::mpsc::unbounded_channel();
    let mut loaders = tokio::task::JoinSet::new();
    for part in customers.chunks(customers.len().div_ceil(CONNECTIONS)) {
        loaders.spawn(load_part(weir.clone(), part.to_vec(), report.clone()));
    }
    drop(report);
    let mut count = 0;
    while loaded.recv().await.is_some() {
        count += 1;
        if count % REPORT_EVERY == 0 {
            progress(&format!("  {count} of {} customers", customers.len()));
        }
    }
    loaders.join_all().await.into_iter().collect()
}

async fn load_part(weir: Address, customers: Vec<i64>, report: tokio::sync::mpsc::UnboundedSender<()>) -> Result<()> {
    let client = connect(&weir, SHOP).await.map_err(unloaded)?;
    for customer in customers {
        load_customer(&client, shop::customer_rows(customer)).await?;
        // Nobody listens any more only when the demo is being stopped.
        let _ = report.send(());
    }
    Ok(())
}

/// One transaction, so that a customer who is there is there with all orders.
async fn load_customer(client: &Client, rows: CustomerRows) -> Result<()> {
    for statement in ["BEGIN", &rows.customer, &rows.orders, &rows.order_lines, "COMMIT"] {
        execute(client, statement).await?;
    }
    Ok(())
}

async fn execute(client: &Client, statement: &str) -> Result<()> {
    client.batch_execute(statement).await.map_err(unloaded)
}

/// The first column of a query's rows, which are whole numbers.
async fn numbers(client: &Client, query: &str) -> Result<Vec<i64>> {
    let messages = client.simple_query(query).await.map_err(unloaded)?;
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let number = |text: Option<&str>| text.and_then(|text| text.parse().ok());
    rows.map(|row| number(row.get(0)).ok_or_else(|| failure(format!("{query} gives no number")))).collect()
}

fn unloaded(error: tokio_postgres::Error) -> Error {
    failure("the shop could not be loaded through Weir").detail(error_text(&error))
}
