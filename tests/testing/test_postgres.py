# SPDX-License-Identifier: Apache-2.0
import pytest

from mezite.testing.postgres import find_postgres, run_postgres


def test_a_cluster_lives_as_long_as_its_context():
    with run_postgres() as cluster:
        assert cluster.execute("SHOW fsync") == "off"
        url = cluster.create_database("one")
        assert url.endswith(f"@127.0.0.1:{cluster.port}/one")
        cluster.execute("CREATE TABLE t AS SELECT 7 AS seven", database="one")
        cluster.create_database("two", template="one")
        assert cluster.execute("SELECT * FROM t", database="two") == "7"
        cluster.drop_database("two")
        with pytest.raises(RuntimeError, match=r'psql: .*"two" does not exist'):
            cluster.execute("SELECT 1", database="two")
        assert cluster.password not in repr(cluster)
        assert cluster.directory.stat().st_mode & 0o077 == 0
    assert cluster.process.poll() == 0
    assert not cluster.directory.exists()


def test_settings_reach_the_server():
    with run_postgres(fsync=True, settings={"max_connections": "7"}) as cluster:
        assert cluster.execute("SHOW fsync") == "on"
        assert cluster.execute("SHOW max_connections") == "7"


def test_a_server_that_does_not_start_says_why():
    with (
        pytest.raises(RuntimeError, match=r"does not start: .*max_connections"),
        run_postgres(settings={"max_connections": "many"}),
    ):
        pass


def test_the_newest_package_wins_else_the_path(tmp_path):
    for version in ("9.6", "15", "16beta"):
        binary = tmp_path / version / "bin" / "initdb"
        binary.parent.mkdir(parents=True)
        binary.touch(mode=0o755)
    assert find_postgres(packages=tmp_path) == tmp_path / "15" / "bin"
    on_path = tmp_path / "9.6" / "bin"
    assert find_postgres(packages=tmp_path / "none", path=str(on_path)) == on_path
    with pytest.raises(FileNotFoundError, match="apt-get install postgresql"):
        find_postgres(packages=tmp_path / "none", path=str(tmp_path / "none"))
