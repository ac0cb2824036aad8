"""wasi:filesystem on our own WASI, which a component gets that also wants sockets."""

from __future__ import annotations

from pathlib import Path

from devtools.serving import run, shell


def test_files_are_written_read_moved_and_removed(folder: Path) -> None:
    printed = shell(f"""
        os.chdir("{folder}")
        os.mkdir("deep")
        with open("deep/file", "w") as file:
            file.write("text" * 50_000)
        with open("deep/file", "a") as file:
            file.write("end")
        with open("deep/file", "r+b") as file:
            file.seek(4)
            file.write(b"TEXT")
        print(os.path.getsize("deep/file"), open("deep/file").read()[:12], open("deep/file").read()[-3:])
        os.rename("deep/file", "deep/moved")
        os.link("deep/moved", "deep/twin")
        print(os.stat("deep/twin").st_nlink, sorted(os.listdir("deep")))
        os.truncate("deep/twin", 2)
        print(open("deep/moved").read())
        os.unlink("deep/moved"), os.unlink("deep/twin"), os.rmdir("deep")
        print(os.listdir("."))
    """)
    assert printed == "200003 textTEXTtext end\n2 ['moved', 'twin']\nte\n[]\n"


def test_links_are_made_read_and_followed(folder: Path) -> None:
    (folder / "file").write_text("linked")
    printed = shell(f"""
        os.symlink("file", "{folder}/link")
        print(os.readlink("{folder}/link"), open("{folder}/link").read(), os.path.islink("{folder}/link"))
    """)
    assert printed == "file linked True\n"


def test_errors_are_the_kernels(folder: Path) -> None:
    printed = shell(f"""
        for attempt in (
            lambda: open("{folder}/none"),
            lambda: os.rmdir("{folder}/none"),
            lambda: os.mkdir("{folder}"),
            lambda: open("{folder}", "w"),
            lambda: os.listdir("/etc/passwd"),
        ):
            try:
                attempt()
            except OSError as error:
                print(type(error).__name__)
    """)
    assert printed.split() == [
        "FileNotFoundError", "FileNotFoundError", "FileExistsError", "IsADirectoryError", "NotADirectoryError",
    ]  # fmt: skip


def test_times_are_kept_and_set(folder: Path) -> None:
    printed = shell(f"""
        open("{folder}/file", "w").close()
        os.utime("{folder}/file", ns=(1_000_000_001, 2_000_000_002))
        print(os.stat("{folder}/file").st_mtime_ns)
    """)
    assert printed == "2000000002\n"
    assert (folder / "file").stat().st_atime_ns == 1_000_000_001


def test_an_absolute_link_in_the_root_leads_within_it(folder: Path) -> None:
    (folder / "etc").mkdir()
    (folder / "etc/real").write_text("found")
    (folder / "link").symlink_to("/etc/real")
    assert shell('print(open("/link").read())', root=str(folder)) == "found\n"


def test_a_preopened_folder_is_not_left(folder: Path) -> None:
    (folder / "inside").mkdir()
    (folder / "secret").write_text("secret")
    (folder / "inside/up").symlink_to("../secret")
    (folder / "inside/out").symlink_to("/etc/passwd")
    script = """
for path in ("/data/up", "/data/out", "/data/../secret", "/etc/passwd"):
    try:
        print(open(path).read())
    except OSError as error:
        print(type(error).__name__)
"""
    result = run("shell", stdin=script, annotations={"io.runwasi.preopens": f"/data={folder}/inside"})
    assert "secret" not in result.stdout
    assert len(result.stdout.split()) == 4


def test_the_environment_time_and_chance_are_there() -> None:
    printed = shell(
        """
        import time
        print(os.environ["NAME"], sys.argv[1:], time.time() > 1.7e9, len(set(os.urandom(64))) > 16, os.getcwd())
        """,
        env=["NAME=value"],
        args=["shell", "one", "two"],
    )
    assert printed == "value ['one', 'two'] True True /\n"
