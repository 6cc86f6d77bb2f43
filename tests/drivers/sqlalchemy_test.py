"""SQLAlchemy and Alembic on a sharded database: create_all, reflection of several schemas, the ORM by key, migrations.

`customers`, `orders` and `billing.invoices` are sharded by the customer's number, from 10 on on the second shard; what is
not in the shard map lives at home."""

import os
import pathlib
import tempfile

import alembic.command
import alembic.config
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, joinedload, mapped_column, relationship

URL = sa.URL.create("postgresql+psycopg", os.environ["PGUSER"], os.environ["PGPASSWORD"], os.environ["PGHOST"],
                    int(os.environ["PGPORT"]), os.environ["PGDATABASE"])

ENVIRONMENT = """
from alembic import context
import sqlalchemy as sa
engine = sa.create_engine(context.config.get_main_option("sqlalchemy.url"), isolation_level="AUTOCOMMIT")
with engine.connect() as connection:
    context.configure(connection=connection, transactional_ddl=False)
    context.run_migrations()
"""

REVISION = """
from alembic import op
import sqlalchemy as sa
revision, down_revision = "one", None
def upgrade():
    op.add_column("customers", sa.Column("note", sa.Text, server_default="none"))
    op.create_index("by_note", "customers", ["note"])
    op.create_table("settings", sa.Column("id", sa.Integer, primary_key=True), sa.Column("value", sa.Text))
    op.bulk_insert(sa.table("settings", sa.column("value")), [{"value": "a"}, {"value": "b"}])
def downgrade():
    op.drop_table("settings")
    op.drop_column("customers", "note")
"""


class Base(DeclarativeBase):
    pass


class Customer(Base):
    __tablename__ = "customers"
    id: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True, autoincrement=False)
    name: Mapped[str | None]
    orders: Mapped[list["Order"]] = relationship(back_populates="customer", cascade="all, delete-orphan")


class Order(Base):
    __tablename__ = "orders"
    customer_id: Mapped[int] = mapped_column(sa.ForeignKey("customers.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    total: Mapped[float] = mapped_column(sa.Numeric(10, 2), index=True)
    customer: Mapped[Customer] = relationship(back_populates="orders")


class Invoice(Base):
    __tablename__ = "invoices"
    __table_args__ = {"schema": "billing"}
    customer_id: Mapped[int] = mapped_column(sa.ForeignKey("customers.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


class Log(Base):
    """Not in the map: its numbers come from a sequence at home."""
    __tablename__ = "log"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]


engine = sa.create_engine(URL)
autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")

with autocommit.connect() as connection:
    connection.execute(sa.schema.CreateSchema("billing"))
# DDL in a transaction is done on all shards or none.
with engine.connect() as connection:
    Base.metadata.create_all(connection)
    connection.rollback()
assert sa.inspect(engine).get_table_names() == []
Base.metadata.create_all(engine)
Base.metadata.create_all(autocommit)

inspector = sa.inspect(engine)
assert sorted(inspector.get_table_names()) == ["customers", "log", "orders"]
assert inspector.get_table_names(schema="billing") == ["invoices"]
assert {"billing", "public"} <= set(inspector.get_schema_names())
assert [column["name"] for column in inspector.get_columns("orders")] == ["customer_id", "number", "total"]
assert inspector.get_pk_constraint("invoices", schema="billing")["constrained_columns"] == ["customer_id", "number"]
assert inspector.get_foreign_keys("invoices", schema="billing")[0]["referred_table"] == "customers"
assert [index["name"] for index in inspector.get_indexes("orders")] == ["ix_orders_total"]
reflected = sa.MetaData()
reflected.reflect(engine)
reflected.reflect(engine, schema="billing")
assert set(reflected.tables) == {"customers", "log", "orders", "billing.invoices"}

for number in [1, 2, 11, 12]:
    with Session(engine) as session:
        customer = Customer(id=number, name=f"c{number}")
        customer.orders = [Order(number=n, total=n * 1.5) for n in range(1, 4)]
        session.add(customer)
        session.add(Invoice(customer_id=number, number=1))
        session.commit()
        customer.name = "changed"
        session.commit()
    with Session(engine) as session:
        found = session.get(Customer, number, options=[joinedload(Customer.orders)])
        assert (found.name, len(found.orders)) == ("changed", 3)
        joined = sa.select(Order.total, Customer.name).join(Customer).where(Customer.id == number, Order.number > 1)
        assert sorted(session.execute(joined).all())[0] == (3, "changed")
        in_list = sa.select(Order).where(Order.customer_id.in_([number]), Order.number.in_([1, 2]))
        assert len(session.scalars(in_list).all()) == 2
        session.delete(found.orders[0])
        session.rollback()
    with Session(engine) as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Order).where(Order.customer_id == number)) == 3

with Session(engine) as session:
    # Over several shards LIMIT must be a literal, and SQLAlchemy makes it a parameter.
    two = sa.literal_column("2")
    ordered = session.scalars(sa.select(Customer).order_by(Customer.id.desc()).limit(two)).all()
    assert [customer.id for customer in ordered] == [12, 11]
    assert session.scalar(sa.select(sa.func.sum(Order.total))) == 36
    session.add_all([Log(text="a"), Log(text="b")])
    session.commit()
    assert session.scalars(sa.select(Log.id).order_by(Log.id)).all() == [1, 2]


with Session(engine) as session:
    session.get(Customer, 1).name = "x"
    session.get(Customer, 11).name = "x"
    session.flush()
    session.rollback()
    assert session.get(Customer, 1).name == session.get(Customer, 11).name == "changed"
    session.get(Customer, 1).name = "x"
    session.get(Customer, 11).name = "x"
    session.commit()
with Session(engine) as session:
    assert session.get(Customer, 1).name == session.get(Customer, 11).name == "x"

with tempfile.TemporaryDirectory() as name:
    directory = pathlib.Path(name)
    (directory / "versions").mkdir()
    (directory / "env.py").write_text(ENVIRONMENT)
    (directory / "versions" / "one.py").write_text(REVISION)
    config = alembic.config.Config()
    config.set_main_option("script_location", name)
    config.set_main_option("path_separator", "os")
    config.set_main_option("sqlalchemy.url", URL.render_as_string(hide_password=False))
    alembic.command.upgrade(config, "head")
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT note FROM customers WHERE id = 11")) == "none"
        assert connection.scalar(sa.text("SELECT count(*) FROM settings")) == 2
        assert connection.scalar(sa.text("SELECT version_num FROM alembic_version")) == "one"
    alembic.command.downgrade(config, "base")
    assert "settings" not in sa.inspect(engine).get_table_names()

Base.metadata.drop_all(autocommit)
assert sa.inspect(engine).get_table_names() == ["alembic_version"]
