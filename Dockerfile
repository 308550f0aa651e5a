# xvla_ros on the official ROS 2 Jazzy image:  docker build -t xvla_ros .
#   docker run --rm xvla_ros                                    the demo in simulation, headless
#   docker run --rm --net=host --ipc=host xvla_ros ros2 launch xvla_ros policy.launch.py   next to a robot
# --ipc=host: Fast DDS hands images over through shared memory.
FROM ros:jazzy-ros-base

SHELL ["/bin/bash", "-o", "pipefail", "-c"]
ENV DEBIAN_FRONTEND=noninteractive MUJOCO_GL=egl

# Everything package.xml names, and what renders without a display. Versions are those of the Jazzy snapshot.
COPY package.xml /xvla_ros/package.xml
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        g++ make python3-dev python3-pip python3-venv libegl1 libgl1 libgl1-mesa-dri \
    && rosdep update --rosdistro jazzy \
    && rosdep install --from-paths /xvla_ros --ignore-src -y --rosdistro jazzy \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /xvla_ros
COPY scripts/bootstrap scripts/bootstrap.py scripts/
COPY requirements requirements
RUN . /opt/ros/jazzy/setup.bash && scripts/bootstrap

COPY . .
RUN . /opt/ros/jazzy/setup.bash && make build

RUN printf '%s\n' '#!/bin/bash' 'source /opt/ros/jazzy/setup.bash' 'source /xvla_ros/.venv/local_setup.bash' \
        'source /xvla_ros/.venv/bin/activate' 'exec "$@"' > /entrypoint.sh \
    && chmod +x /entrypoint.sh
ENTRYPOINT ["/entrypoint.sh"]
CMD ["make", "demo"]
