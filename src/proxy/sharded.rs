//! Units for a sharded database: each statement is planned, then done.

use std::sync::Arc;

use super::answer::Preface;
use super::batch::{Request, bound_statements};
use super::client::Client;
use super::everywhere::inside_block;
use super::exchange::bound;
use super::links::{Link, stale_plan};
use super::outcome::{Step, Stop};
use super::simple::Ended;
use super::values::Values;
use crate::route::plan::{Access, Action, Part, PartText, Plan};
use crate::route::{self, Named, Parameter};
use crate::session::statements::Prepared;
use crate::session::transaction::Transaction;
use crate::shardmap::ShardMap;
use crate::sql::analyze::assignments;
use crate::sql::facts::{DiscardTarget, Effects, Facets, Facts, Statement, StatementKind, TransactionCommand};
use crate::sql::scan::LiteralSpan;
use crate::sql::schema::Schema;
use crate::types::{Epoch, Error, Result, ShardId};
use crate::wire::frontend::Bind;

/// How a statement was sent, and so how its answer has to look.
#[derive(Clone, Copy)]
pub enum Asked<'m> {
    /// The only statement of a Query; its message as sent.
    Query(&'m [u8]),
    /// One of several statements of a Query: ReadyForQuery comes when all are done.
    Step,
    /// The only statement of a batch that ends with Sync.
    Batch(&'m [Request<'m>]),
}

/// A statement to be done, with everything that decides where.
pub struct Task<'t> {
    pub statement: &'t Statement,
    /// The statement's own text.
    pub text: &'t str,
    pub asked: Asked<'t>,
    /// Where its values are, as far as they are plain to see.
    pub values: Values<'t>,
}

/// Where a statement goes whose shard is plain to see.
#[derive(Clone, Copy, Debug)]
pub struct ByKey {
    pub shard: ShardId,
    pub access: Access,
    /// The version of the map that says so.
    epoch: Epoch,
}

/// The shard that answers what concerns no shard.
pub const HOME: ShardId = ShardId(0);

impl Client {
    /// The shard that a Query goes to, where that is plain to see.
    pub fn shard_by_key(&self, schema: &Schema, facts: &Facts, values: &Values<'_>) -> Option<ByKey> {
        let [statement] = facts.statements.as_slice() else { return None };
        self.by_one_key(schema, statement, values.text, values.literals, &[])
    }

    /// The shard that a batch goes to, where that is plain to see: one statement, one portal without a name, Sync.
    pub fn batch_by_key(&self, schema: &Schema, requests: &[Request<'_>]) -> Result<Option<ByKey>> {
        if self.cursors.as_ref().is_some_and(|cursors| !cursors.is_empty()) {
            return Ok(None);
        }
        let mut only = None;
        for request in requests {
            match request {
                Request::Bind { portal: b"", prepared, body, .. } if only.is_none() => only = Some((prepared, *body)),
                Request::Parse { .. } | Request::DescribeStatement { .. } | Request::Sync => {}
                Request::DescribePortal { portal: b"", .. } | Request::Execute { portal: b"", .. }
                    if only.is_some() => {}
                _ => return Ok(None),
            }
        }
        let Some((prepared, body)) = only else { return Ok(None) };
        let [statement] = prepared.facts.statements.as_slice() else { return Ok(None) };
        let parameters = bound_parameters(prepared, &Bind::read(body)?)?;
        let text = prepared.text.as_deref().unwrap_or_default();
        Ok(self.by_one_key(schema, statement, text, &prepared.literals, &parameters))
    }

    fn by_one_key(
        &self,
        schema: &Schema,
        statement: &Statement,
        text: &str,
        literals: &[LiteralSpan],
        parameters: &[Parameter<'_>],
    ) -> Option<ByKey> {
        let has_own_rules = |block: &Transaction| block.is_failed() || block.has_altered_any();
        if self.temporary.used || self.block.as_ref().is_some_and(has_own_rules) {
            return None;
        }
        let map = self.database.map_here()?;
        if !matches!(self.named_shard(text, &map), Ok(None)) {
            return None;
        }
        let request = route::Request { literals, parameters, ..self.bare_request(statement, text, &map, schema) };
        let shard = route::by_one_key(&request)?;
        Some(ByKey { shard, access: route::unsharded(statement), epoch: map.epoch() })
    }

    /// Waits until statements may begin, and sees to it that nothing stands against this one on its shard.
    pub async fn admit_by_key(&mut self, found: ByKey) -> Step {
        self.pass_cuts().await;
        if self.database.epoch() != Some(found.epoch) {
            return Err(stale_plan().into());
        }
        Ok(self.write_check(found.shard, found.access)?)
    }

    /// Serves a Query that [`Client::shard_by_key`] found the shard of.
    pub async fn on_shard_by_key(&mut self, found: ByKey, message: &[u8], facts: &Facts, values: &Values<'_>) -> Step {
        self.admit_by_key(found).await?;
        facts.statements.iter().for_each(|statement| self.note(statement, values));
        self.on_one(found.shard, found.access, &Asked::Query(message), values.text).await?;
        self.follow_block_status();
        Ok(())
    }

    /// Serves a simple Query on a sharded database.
    pub async fn sharded_query(
        &mut self,
        schema: &Schema,
        message: &[u8],
        facts: &Facts,
        Values { text, literals, .. }: Values<'_>,
    ) -> Step {
        self.pass_cuts().await;
        self.learn_temporary().await?;
        self.fits_mode(facts.statements.iter())?;
        match facts.statements.as_slice() {
            [] => self.on_one(HOME, Access::Read, &Asked::Query(message), text).await.map(drop),
            [statement] => {
                self.is_heard(statement)?;
                let plan = self.plan(schema, statement, text, literals, &[]).await?;
                let values = Values { text, literals, bound: None };
                let task = Task { statement, text: statement.text(text), asked: Asked::Query(message), values };
                self.perform(schema, plan, &task).await
            }
            _ => self.sharded_steps(schema, message, text, facts, literals).await,
        }
    }

    /// Several statements in one Query: PostgreSQL runs them in one implicit transaction.
    async fn sharded_steps(
        &mut self,
        schema: &Schema,
        message: &[u8],
        text: &str,
        facts: &Facts,
        literals: &[LiteralSpan],
    ) -> Step {
        self.check_alone(facts.statements.iter())?;
        let values = Values { text, literals, bound: None };
        if facts.statements.iter().any(|statement| changes_path(statement, &values)) {
            return Err(Error::refuse(
                "search_path cannot be changed among other statements of one query",
                "The statements behind it would be routed by the names that were known before.",
            )
            .hint("Send the statements one by one.")
            .into());
        }
        let mut plans = Vec::with_capacity(facts.statements.len());
        for statement in &facts.statements {
            plans.push(self.plan(schema, statement, text, literals, &[]).await?);
        }
        if let Some((shard, access)) = common_shard(&plans) {
            facts.statements.iter().for_each(|statement| self.note(statement, &values));
            let ended = self.on_one(shard, access, &Asked::Query(message), text).await?;
            self.follow_block_status();
            for statement in facts.statements.iter().filter(|_| !ended.failed) {
                self.spread_settings(shard, statement, &values).await?;
            }
            return Ok(());
        }
        let own = self.needs_own_block(&facts.statements)? && self.begin_own();
        let tasks = facts.statements.iter().zip(plans).map(|(statement, plan)| {
            (plan, Task { statement, text: statement.text(text), asked: Asked::Step, values })
        });
        let mut performed = Ok(());
        for (plan, task) in tasks {
            performed = self.perform(schema, plan, &task).await;
            // Nothing runs after a failed statement.
            if performed.is_err() {
                break;
            }
        }
        if own {
            performed = self.end_own(own, performed).await;
            self.end_cursors(performed.is_ok());
        }
        match performed {
            Ok(()) | Err(Stop::Told) => {}
            Err(stop) => return Err(stop),
        }
        self.heed_steps().await?;
        self.ready();
        Ok(())
    }

    /// Whether statements of one query that write, or declare cursors, must be held together by a block of Weir's own.
    ///
    /// # Errors
    /// Refuses what would be understood otherwise when it stands alone: DDL outside of a block, and writes outside of one
    /// among commands that begin or end one.
    fn needs_own_block(&self, statements: &[Statement]) -> Result<bool> {
        use TransactionCommand::{Begin, Commit, Rollback};
        let controls = |statement: &Statement| matches!(statement.kind, StatementKind::Transaction(_));
        let controlled = statements.iter().any(controls);
        let (mut in_block, mut together) = (self.block.is_some(), false);
        for statement in statements {
            let effects = self.effects_of(statement);
            match &statement.kind {
                StatementKind::Transaction(Begin { .. }) => in_block = true,
                StatementKind::Transaction(Commit { .. } | Rollback { .. }) => in_block = false,
                _ if in_block => {}
                _ if effects.contains(Effects::DDL) => return Err(several_writes()),
                _ if controlled && effects.contains(Effects::WRITES_ROWS) => return Err(several_writes()),
                StatementKind::DeclareCursor { .. } => together |= !controlled,
                _ => together |= effects.contains(Effects::WRITES_ROWS),
            }
        }
        Ok(together)
    }

    /// The effects of a statement, or of the one that it executes, where the session has that already.
    fn effects_of(&self, statement: &Statement) -> Effects {
        let executed = statement.executes.as_ref().and_then(|name| self.names.get(name.as_bytes()));
        let all = |prepared: &Prepared| prepared.facts.statements.iter().map(|each| each.effects).collect();
        executed.map_or(statement.effects, |prepared| all(prepared))
    }

    /// Serves a batch on a sharded database.
    pub async fn sharded_batch(
        &mut self,
        schema: &Schema,
        messages: &[u8],
        mut requests: Vec<Request<'_>>,
        complete: bool,
    ) -> Step {
        self.pass_cuts().await;
        self.learn_temporary().await?;
        if self.serve_portals(&mut requests)? {
            return Ok(());
        }
        if self.links.is_empty() && requests.iter().any(is_refused) {
            return Err(first_refusal(requests).into());
        }
        if bound_statements(&requests).count() > 1 {
            self.check_alone(bound_statements(&requests))?;
        }
        let mut plans = Vec::new();
        for request in &requests {
            if let Request::Bind { prepared, body, .. } = request {
                prepared.facts.statements.iter().try_for_each(|statement| self.is_heard(statement))?;
                plans.push(self.plan_bound(schema, prepared, body).await?);
            }
        }
        if self.describe_fetch(&requests)? {
            return Ok(());
        }
        let target = match plans.as_slice() {
            // Nothing is bound: a statement is described where the session is, or at home.
            [] => {
                let held = || self.links.first().map_or(HOME, |link| link.server.shard());
                Some((self.portal_elsewhere(&requests).unwrap_or_else(held), Access::Primary { writes: false }))
            }
            plans => common_shard(plans),
        };
        let continues = |request: &Request<'_>| matches!(request, Request::Execute { portal: b"", .. });
        match plans.as_slice() {
            [] if self.unnamed_was_merged && requests.iter().any(continues) => return Err(unnamed_goes_on().into()),
            [] => {}
            _ => self.unnamed_was_merged = target.is_none(),
        }
        if let Some((shard, access)) = target {
            if let Some(block) = &self.block
                && block.is_failed()
            {
                return Err(self.why_failed().into());
            }
            self.write_check(shard, access)?;
            self.note_portals(&requests, shard);
            let access = if complete { access } else { Access::Primary { writes: true } };
            self.send_batch(shard, access, &requests, messages.len(), complete).await?;
            self.follow_block_status();
            return Ok(());
        }
        match (plans.pop(), plans.is_empty() && complete, bound_statements(&requests).next()) {
            (Some(plan), true, Some(statement)) if fits_batch(&plan, &requests) => {
                let text = statement_text(&requests);
                let asked = Asked::Batch(&requests);
                let task = Task { statement, text: &text, asked, values: Values::default() };
                match plan.action {
                    Action::Fan { .. } | Action::Gather(_) if self.opens_portal(&requests) => {
                        Box::pin(self.open_portal(schema, &task)).await
                    }
                    _ => self.perform(schema, plan, &task).await,
                }
            }
            _ => Err(Error::refuse(
                "a batch needs more than one shard",
                "Its statements cannot be told apart without giving up that they succeed or fail together.",
            )
            .hint("Send Sync after each statement.")
            .into()),
        }
    }

    /// In a block that failed nothing is looked at but what ends it, or mends it.
    fn is_heard(&mut self, statement: &Statement) -> Result<()> {
        let has_failed = self.block.as_ref().is_some_and(Transaction::is_failed);
        let is_command = matches!(statement.kind, StatementKind::Transaction(_));
        if has_failed && !is_command { Err(self.why_failed()) } else { Ok(()) }
    }

    /// What is to be done with a statement.
    pub async fn plan(
        &self,
        schema: &Schema,
        statement: &Statement,
        text: &str,
        literals: &[LiteralSpan],
        parameters: &[Parameter<'_>],
    ) -> Result<Plan> {
        let map = self.database.map().ok_or_else(|| Error::internal("a sharded database without a shard map"))?;
        if let Some(action) = self.own_action(statement, text) {
            return Ok(Plan { epoch: map.epoch(), action, explanation: Vec::new() });
        }
        let mut unowned = Vec::new();
        let named = self.named_shard(statement.text(text), &map)?;
        let request =
            route::Request { literals, parameters, named, ..self.bare_request(statement, text, &map, schema) };
        let planned = route::plan_noting(&request, &mut unowned);
        if unowned.is_empty() {
            return self.inside_block(planned?, &request);
        }
        // The map may be older than the rows; and a new key may be given an owner now.
        let planned = match self.worker.instance.learn(&self.database, &map, &unowned).await? {
            None => planned,
            Some(map) => route::plan(&route::Request { map: &map, ..request }),
        };
        self.inside_block(planned?, &request)
    }

    /// In a block, only such DDL can be done that leaves the statements behind it understood: what it changes is not known
    /// before it commits.
    fn inside_block(&self, plan: Plan, request: &route::Request<'_>) -> Result<Plan> {
        let statement = request.statement;
        if let Some(block) = self.block.as_ref().filter(|_| !statement.effects.contains(Effects::DDL))
            && let Some(used) = statement.relations.iter().find(|used| block.has_altered(&used.name.name))
        {
            return Err(altered_here(&used.name.name));
        }
        // Their servers say in PostgreSQL's words that they stand in the wrong place.
        let misplaced = match &statement.kind {
            StatementKind::Standalone => self.block.is_some(),
            StatementKind::Lock => self.block.is_none(),
            _ => false,
        };
        if misplaced {
            return Ok(home_plan(plan.epoch));
        }
        match &plan.action {
            Action::Everywhere { changes_schema: true, .. }
                if self.block.is_some() && !route::may_stand_in_block(request) =>
            {
                Err(inside_block())
            }
            _ => Ok(plan),
        }
    }

    /// Whether the session chose the schemas itself in which names are looked up.
    fn has_own_path(&self) -> bool {
        let name = route::SEARCH_PATH;
        self.own_setting_of(name).is_some() || self.state.wanted().get(name).is_some()
    }

    /// The session's last statement about a setting, unless servers are told of it otherwise.
    fn own_setting_of(&self, name: &str) -> Option<&str> {
        let in_block = self.block.as_ref().and_then(|block| block.setting(name));
        in_block.or_else(|| self.lasting.setting(name))
    }

    /// The shard that the client names for a statement: by a comment in front of it, or by a setting.
    fn named_shard(&self, statement: &str, map: &ShardMap) -> Result<Option<ShardId>> {
        let named = match Named::by_comment(statement)? {
            Some(named) => Some(named),
            None => self.named_by_setting("weir.shard")?.or(self.named_by_setting("weir.sharding_key")?),
        };
        named.map(|named| named.shard(map)).transpose()
    }

    fn named_by_setting(&self, name: &str) -> Result<Option<Named>> {
        let Some(sql) = self.own_setting_of(name) else { return Ok(None) };
        let value = assignments(sql).pop().and_then(|set| set.value);
        Named::by_setting(name, value.as_deref())
    }

    /// Statements that are Weir's own to do, whatever the shard map says.
    fn own_action(&self, statement: &Statement, text: &str) -> Option<Action> {
        match &statement.kind {
            StatementKind::Transaction(_) | StatementKind::Deallocate { .. } => Some(Action::Session),
            StatementKind::Discard(DiscardTarget::All) => Some(Action::Session),
            _ if self.is_about_own_cursor(statement, text) => Some(Action::Cursor),
            _ => None,
        }
    }

    async fn plan_bound(&self, schema: &Schema, prepared: &Prepared, body: &[u8]) -> Result<Plan> {
        let parameters = bound_parameters(prepared, &Bind::read(body)?)?;
        let text = prepared.text.as_deref().unwrap_or_default();
        match prepared.facts.statements.as_slice() {
            [statement] => self.plan(schema, statement, text, &prepared.literals, &parameters).await,
            _ => Ok(home_plan(self.database.map().map(|map| map.epoch()).unwrap_or_default())),
        }
    }

    /// Answers over gathered rows what the shards' rows turned out not to be merged for.
    pub async fn gather_instead(&mut self, schema: &Schema, task: &Task<'_>) -> Step {
        let plan = self.plan_gathered(schema, task)?;
        match plan.action {
            Action::Gather(gather) => Box::pin(self.gather(&gather, &[], task)).await,
            _ => Err(Error::internal("a plan to gather is another one").into()),
        }
    }

    /// The shard whose server knows all tables of a statement.
    pub fn describer(&self, schema: &Schema, task: &Task<'_>) -> Result<ShardId> {
        let map = self.database.map().ok_or_else(|| Error::internal("a sharded database without a shard map"))?;
        route::describer(&self.bare_request(task.statement, task.text, &map, schema))
    }

    /// A statement of the session without values, and without a shard that the client names.
    fn bare_request<'r>(
        &'r self,
        statement: &'r Statement,
        text: &'r str,
        map: &'r ShardMap,
        schema: &'r Schema,
    ) -> route::Request<'r> {
        route::Request {
            text,
            statement,
            literals: &[],
            parameters: &[],
            map,
            schema,
            named: None,
            role: &self.user.name,
            has_own_path: self.has_own_path(),
            temporary: &self.temporary.names,
        }
    }

    fn plan_gathered(&self, schema: &Schema, task: &Task<'_>) -> Result<Plan> {
        let map = self.database.map().ok_or_else(|| Error::internal("a sharded database without a shard map"))?;
        let plan = |text: &str, literals: &[LiteralSpan], parameters: &[Parameter<'_>]| {
            let bare = self.bare_request(task.statement, text, &map, schema);
            route::plan_gathered(&route::Request { literals, parameters, ..bare })
        };
        let Asked::Batch(requests) = task.asked else { return plan(task.values.text, task.values.literals, &[]) };
        let (prepared, bind) = bound(requests)?;
        let text = prepared.text.as_deref().unwrap_or_default();
        plan(text, &prepared.literals, &bound_parameters(prepared, &bind)?)
    }

    /// Does what the plan says.
    pub async fn perform(&mut self, schema: &Schema, plan: Plan, task: &Task<'_>) -> Step {
        // It may follow from a commit of this very unit.
        self.pass_cuts().await;
        if let StatementKind::Transaction(command) = &task.statement.kind {
            self.preface(task, &Preface::default());
            Box::pin(self.block_command(command, task)).await?;
            self.heed_steps().await?;
            return self.answered(task);
        }
        self.is_heard(task.statement)?;
        if self.database.epoch() != Some(plan.epoch) {
            return Err(stale_plan().into());
        }
        self.temporary.used |= task.statement.makes.contains(Facets::TEMPORARY);
        match plan.action {
            Action::One { part, access } if !plan.explanation.is_empty() && !matches!(task.asked, Asked::Batch(_)) => {
                self.write_check(part.shard, access)?;
                self.note(task.statement, &Values::default());
                Box::pin(self.explained(&part, access, &plan.explanation, task)).await
            }
            Action::One { part, access } => {
                self.write_check(part.shard, access)?;
                self.note(task.statement, &task.values);
                let ended = self.on_part(&part, access, task).await?;
                self.follow_block_status();
                if !ended.failed {
                    self.spread_settings(part.shard, task.statement, &task.values).await?;
                }
                self.told(ended, task)
            }
            // In a box of its own: what one shard does needs little room.
            action => Box::pin(self.perform_otherwise(schema, action, &plan.explanation, task)).await,
        }
    }

    /// Does what is more than a statement on one shard.
    async fn perform_otherwise(
        &mut self,
        schema: &Schema,
        action: Action,
        explanation: &[String],
        task: &Task<'_>,
    ) -> Step {
        match action {
            Action::One { .. } => Err(Error::internal("a statement of one shard is taken for another").into()),
            Action::Fan { parts, merge, access } => {
                if access != Access::Read {
                    self.note(task.statement, &task.values);
                }
                self.fan(schema, &parts, &merge, access, task).await
            }
            Action::Gather(gather) => self.gather(&gather, explanation, task).await,
            Action::Explanation { lines, parts } => Box::pin(self.explain(&lines, &parts, task)).await,
            Action::Spread(spread) => Box::pin(self.spread(&spread, task)).await,
            Action::Everywhere { parts, changes_schema } => {
                self.everywhere(&parts, changes_schema, task).await?;
                self.answered(task)
            }
            Action::ShardByShard { parts, index } => {
                match Box::pin(self.shard_by_shard(&parts, index.as_ref(), task)).await {
                    Ok(()) => self.answered(task),
                    Err(stop) => self.refused(stop, task),
                }
            }
            Action::Moment => Box::pin(self.at_one_moment(schema, task)).await,
            Action::Collect(collected) => Box::pin(self.collected(schema, &collected, task)).await,
            Action::Subqueries(queries) => Box::pin(self.with_subqueries(schema, &queries, task)).await,
            Action::Instead(text) => Box::pin(self.instead(schema, &text, task)).await,
            Action::Sources(sources) => Box::pin(self.with_sources(schema, &sources, task)).await,
            Action::Compute(computed) => Box::pin(self.computed(schema, &computed, task)).await,
            Action::Number(numbering) => Box::pin(self.numbered(schema, &numbering, task)).await,
            Action::CopyOut { parts, is_binary, header } => {
                Box::pin(self.copy_out(&parts, is_binary, header, task)).await
            }
            Action::CopyIn(copy) => Box::pin(self.copy_in(*copy, task)).await,
            Action::MakeTable(make) => Box::pin(self.make_table(schema, *make, task)).await,
            Action::Cursor => Box::pin(self.cursor(schema, task)).await,
            Action::Prepare => Box::pin(self.prepare_by_sql(schema, task)).await,
            Action::Execute => Box::pin(self.execute_by_sql(schema, task)).await,
            Action::Session => self.session_statement(task).await,
        }
    }

    async fn on_part(&mut self, part: &Part, access: Access, task: &Task<'_>) -> Step<Ended> {
        match &part.text {
            PartText::Untouched => self.on_one(part.shard, access, &task.asked, task.text).await,
            PartText::Rewritten(_) => {
                Err(Error::internal("a rewritten text for one shard, which only moves would need").into())
            }
        }
    }

    /// Runs a statement, or a whole Query, on one shard.
    async fn on_one(&mut self, shard: ShardId, access: Access, asked: &Asked<'_>, text: &str) -> Step<Ended> {
        let at = self.link(shard, access).await?;
        let link = &mut self.links[at];
        let server = &mut link.server;
        match asked {
            Asked::Query(message) => {
                link.stats.received(message.len());
                server.session.query(server.conn.queue(), message);
            }
            Asked::Step => server.session.query_step(server.conn.queue(), text),
            Asked::Batch(_) => return Err(Error::internal("a batch for one shard was taken apart").into()),
        }
        self.finish(at).await
    }

    /// After an error that the client has read, the steps that follow must not run.
    pub fn told(&self, ended: Ended, task: &Task<'_>) -> Step {
        if ended.failed && matches!(task.asked, Asked::Step) { Err(Stop::Told) } else { Ok(()) }
    }

    /// A statement that failed on its server fails the block.
    pub fn follow_block_status(&mut self) {
        let failed = |link: &Link| link.server.session.ledger.status() == crate::wire::TransactionStatus::Failed;
        if self.links.iter().any(failed)
            && let Some(block) = &mut self.block
        {
            block.fail();
        }
    }

    /// Notes a write in the open block, or refuses it on a second shard.
    fn write_check(&mut self, shard: ShardId, access: Access) -> Result<()> {
        if access == (Access::Primary { writes: true }) { self.note_write(shard) } else { Ok(()) }
    }
}

/// The one shard on which all plans run untouched.
fn common_shard(plans: &[Plan]) -> Option<(ShardId, Access)> {
    let mut found: Option<(ShardId, Access)> = None;
    for plan in plans {
        let Action::One { part: Part { shard, text: PartText::Untouched, .. }, access } = &plan.action else {
            return None;
        };
        found = match found {
            None => Some((*shard, *access)),
            Some((other, other_access)) if other == *shard => Some((other, other_access.and(*access))),
            Some(_) => return None,
        };
    }
    found
}

fn home_plan(epoch: crate::types::Epoch) -> Plan {
    let part = Part { shard: HOME, text: PartText::Untouched, ownership: None };
    Plan { epoch, action: Action::One { part, access: Access::Read }, explanation: Vec::new() }
}

/// Whether names may lead elsewhere behind a statement.
fn changes_path(statement: &Statement, values: &Values<'_>) -> bool {
    match &statement.kind {
        StatementKind::Set { name, .. } => name == route::SEARCH_PATH,
        StatementKind::Select => statement
            .set_configs
            .iter()
            .any(|call| values.text(&call.name).is_none_or(|name| name.eq_ignore_ascii_case(route::SEARCH_PATH))),
        _ => false,
    }
}

/// The parameters of a statement that is to be done; none in a simple Query.
pub fn parameters<'t>(task: &Task<'t>) -> Result<Vec<Parameter<'t>>> {
    let Asked::Batch(requests) = task.asked else { return Ok(Vec::new()) };
    let (prepared, bind) = bound(requests)?;
    bound_parameters(prepared, &bind)
}

/// The parameters that a Bind gives a statement.
fn bound_parameters<'b>(prepared: &Prepared, bind: &Bind<'b>) -> Result<Vec<Parameter<'b>>> {
    let types = prepared.parameter_types.iter().copied().chain(std::iter::repeat(0));
    let parameter = |(value, type_oid)| {
        let (format, value) = value?;
        Ok(Parameter { type_oid, format, value })
    };
    bind.each_value().zip(types).map(parameter).collect()
}

/// One statement, one portal, all its rows, Sync: a batch that several shards can answer.
pub fn is_plain(requests: &[Request<'_>]) -> bool {
    is_single(requests) && rows_max(requests) == 0
}

/// One statement, one portal, which is run once, Sync.
fn is_single(requests: &[Request<'_>]) -> bool {
    let executes = requests.iter().filter(|request| matches!(request, Request::Execute { .. })).count();
    let breaks =
        |request: &Request<'_>| matches!(request, Request::ClosePortal { .. } | Request::Flush | Request::Refused(_));
    executes == 1 && !requests.iter().any(breaks)
}

/// How many rows the batch's Execute asks for; zero: all.
pub fn rows_max(requests: &[Request<'_>]) -> u32 {
    let asked = requests.iter().find_map(|request| match request {
        Request::Execute { max_rows, .. } => Some(*max_rows),
        _ => None,
    });
    asked.unwrap_or(0)
}

/// Whether a plan can be carried out for a batch.
fn fits_batch(plan: &Plan, requests: &[Request<'_>]) -> bool {
    match plan.action {
        Action::Fan { .. } | Action::Gather(_) => is_single(requests),
        Action::One { .. }
        | Action::Explanation { .. }
        | Action::Spread(_)
        | Action::Everywhere { .. }
        | Action::ShardByShard { .. }
        | Action::Moment
        | Action::Number(_)
        | Action::Compute(_)
        | Action::Subqueries(_)
        | Action::Sources(_)
        | Action::Instead(_)
        | Action::Collect(_)
        | Action::CopyOut { .. }
        | Action::CopyIn(_)
        | Action::MakeTable(_)
        | Action::Cursor
        | Action::Prepare
        | Action::Execute
        | Action::Session => is_plain(requests),
    }
}

fn unnamed_goes_on() -> Error {
    Error::refuse(
        "an unnamed portal over several shards cannot be continued",
        "Weir keeps the rows of portals that have a name.",
    )
    .hint("Give the portal a name, or fetch all of its rows at once.")
}

fn is_refused(request: &Request<'_>) -> bool {
    matches!(request, Request::Refused(_))
}

/// The text of the statement that a batch binds.
fn statement_text(requests: &[Request<'_>]) -> Arc<str> {
    let text = requests.iter().find_map(|request| match request {
        Request::Bind { prepared, .. } => prepared.text.clone(),
        _ => None,
    });
    text.unwrap_or_default()
}

/// What the first request that cannot be done says.
fn first_refusal(requests: Vec<Request<'_>>) -> Error {
    let refusal = requests.into_iter().find_map(|request| match request {
        Request::Refused(error) => Some(error),
        _ => None,
    });
    refusal.unwrap_or_else(|| Error::internal("a batch was refused without a reason"))
}

fn altered_here(name: &str) -> Error {
    Error::refuse(
        format!("\"{name}\" was changed by this transaction"),
        "Weir reads the columns of relations when changes of them are committed, so it cannot tell the rows' shards yet.",
    )
    .hint("Commit the change first.")
}

fn several_writes() -> Error {
    Error::refuse(
        "several statements in one query write to a sharded database",
        "PostgreSQL runs them in one transaction, in which they would have to be understood together.",
    )
    .hint("Send the statements one by one, or between BEGIN and COMMIT.")
}
